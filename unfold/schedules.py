"""Values that depend on the iteration and on nothing else."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.errors import ConfigError


class Schedule(ABC):
    """A number for every iteration, counted from k = 0."""

    @abstractmethod
    def at(self, k: int) -> float:
        """The value in iteration `k`."""


@dataclass(frozen=True)
class Geometric(Schedule):
    """start · (stop / start)^(k / (iterations − 1)), then stop.

    Args:
        start: the value of the first iteration, above 0.
        stop: the value of iteration `iterations` and of all later ones, above 0.
        iterations: how many iterations it takes, at least 2.
    """

    start: float
    stop: float
    iterations: int

    def __post_init__(self) -> None:
        if self.start <= 0 or self.stop <= 0 or self.iterations < 2:
            raise ConfigError(
                "Geometric needs start > 0, stop > 0 and iterations >= 2, got "
                f"start={self.start}, stop={self.stop}, iterations={self.iterations}."
            )

    def at(self, k: int) -> float:
        fraction = min(k / (self.iterations - 1), 1.0)
        return float(self.start * (self.stop / self.start) ** fraction)


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
    iterations: int

    def __post_init__(self) -> None:
        if self.iterations < 2:
            raise ConfigError(f"Linear needs iterations >= 2, got {self.iterations}.")

    def at(self, k: int) -> float:
        fraction = min(k / (self.iterations - 1), 1.0)
        return self.start + (self.stop - self.start) * fraction
