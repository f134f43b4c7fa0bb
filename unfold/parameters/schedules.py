"""Values that depend on the iteration and on nothing else."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.parameters.bounds import Declared, above, at_least, bounded, positive


@dataclass(frozen=True)
class Schedule(Declared, ABC):
    """A number for every iteration, counted from k = 0."""

    @abstractmethod
    def at(self, k: int) -> float:
        """The value in iteration `k`."""

    def values(self, count: int) -> list[float]:
        """Those of the first `count` iterations."""
        return [self.at(k) for k in range(count)]


@dataclass(frozen=True)
class Geometric(Schedule):
    """start · (stop / start)^(k / (iterations − 1)), then stop.

    Args:
        start: the value of the first iteration, above 0.
        stop: the value of iteration `iterations` and of all later ones, above 0.
        iterations: how many iterations it takes, at least 2.
    """

    start: float = bounded(accepted=positive)
    stop: float = bounded(accepted=positive)
    iterations: int = bounded(accepted=at_least(2))

    def at(self, k: int) -> float:
        fraction = min(k / (self.iterations - 1), 1.0)
        return float(self.start * (self.stop / self.start) ** fraction)


@dataclass(frozen=True)
class Annealing(Schedule):
    """(σ_k/σ)²/λ, the γ of HQS whose denoiser has the levels σ_k of `Geometric`.

    Args:
        start, stop, iterations: those of `Geometric`; σ = stop is the noise level.
        lam: λ, above 0.

    Source: Zhang et al., Plug-and-play image restoration with deep denoiser prior, TPAMI 44 (2022),
    section 4.2: 1/γ is their α_k = λσ²/σ_k².
    """

    start: float = bounded(accepted=positive)
    stop: float = bounded(accepted=positive)
    iterations: int = bounded(accepted=at_least(2))
    lam: float = bounded(0.23, positive)

    def at(self, k: int) -> float:
        level = Geometric(self.start, self.stop, self.iterations).at(k)
        return (level / self.stop) ** 2 / self.lam


@dataclass(frozen=True)
class Linear(Schedule):
    """start + (stop − start) · k / (iterations − 1), then stop.

    Args:
        start: the value of the first iteration.
        stop: the value of iteration `iterations` and of all later ones.
        iterations: how many iterations it takes, at least 2.
    """

    start: float
    stop: float
    iterations: int = bounded(accepted=at_least(2))

    def at(self, k: int) -> float:
        fraction = min(k / (self.iterations - 1), 1.0)
        return self.start + (self.stop - self.start) * fraction


@dataclass(frozen=True)
class ChambolleDossal(Schedule):
    """μ_k = (k − 1) / (k + a), k ≥ 1: a momentum for which the iterates converge.

    Args:
        a: above 2; larger values damp the oscillation of the objective.

    Source: Chambolle and Dossal, On the convergence of the iterates of the fast iterative
    shrinkage/thresholding algorithm, JOTA 166 (2015), with t_k = (k + a − 1)/a.
    """

    a: float = bounded(3.0, above(2))

    def at(self, k: int) -> float:
        return k / (k + 1 + self.a)


@dataclass(frozen=True)
class BeckTeboulle(Schedule):
    """μ_k = (t_k − 1) / t_{k+1} with t_1 = 1, t_{k+1} = (1 + √(1 + 4t_k²)) / 2, k ≥ 1.

    Source: Beck and Teboulle, A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems, SIAM J. Imaging Sci. 2 (2009), equations (4.2) and (4.3).
    """

    def at(self, k: int) -> float:
        return self.values(k + 1)[k]

    def values(self, count: int) -> list[float]:
        found, t = [], 1.0
        for _ in range(count):
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            found.append((t - 1) / following)
            t = following
        return found
