"""Potentials φ of mirror descent: each measures lengths of steps in its own way."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from unfold.algorithms.algorithm import curvature
from unfold.errors import ConfigError
from unfold.problem import Problem
from unfold.typing import Image, PerImage


@dataclass(frozen=True)
class Potential(ABC):
    """φ, strictly convex on its domain; ∇φ takes images to the dual space, ∇φ* back."""

    @abstractmethod
    def start(self, x: Image) -> Image:
        """An image near x inside the domain."""

    @abstractmethod
    def forward(self, x: Image) -> Image:
        """∇φ(x)."""

    @abstractmethod
    def back(self, p: Image) -> Image:
        """∇φ*(p), the image whose ∇φ is p."""

    def unit(self, problem: Problem) -> PerImage:
        """The step that 1 stands for: 1/‖A‖² unless the potential defines another scale."""
        return 1 / problem.norm_squared

    def smoothness(self, problem: Problem, lam: object) -> float | PerImage:
        """L for which Lφ − (f + λg) is convex on the domain; infinite where none is known."""
        return math.inf


@dataclass(frozen=True)
class Euclidean(Potential):
    """φ(x) = ½‖x‖²: mirror descent is then gradient descent."""

    def start(self, x: Image) -> Image:
        return x

    def forward(self, x: Image) -> Image:
        """∇φ(x) = x."""
        return x

    def back(self, p: Image) -> Image:
        """∇φ*(p) = p."""
        return p

    def smoothness(self, problem: Problem, lam: object) -> float | PerImage:
        """L_f + λL_g."""
        return curvature(problem, lam)


@dataclass(frozen=True)
class NegativeEntropy(Potential):
    """φ(x) = Σ x log x − x on positive images; steps are factors: x⁺ = x exp(−τ∇).

    Source: Beck and Teboulle, Mirror descent and nonlinear projected subgradient methods for convex
    optimization, Oper. Res. Lett. 31 (2003).
    """

    def start(self, x: Image) -> Image:
        return _positive(self, x)

    def forward(self, x: Image) -> Image:
        """∇φ(x) = log x."""
        return x.log()

    def back(self, p: Image) -> Image:
        """∇φ*(p) = exp p."""
        return p.exp()


@dataclass(frozen=True)
class BurgEntropy(Potential):
    """φ(x) = −Σ log x on positive images; a step of 1 is 1/Σy, the scale of counts.

    Source: Bauschke, Bolte and Teboulle, A descent lemma beyond Lipschitz gradient continuity,
    Math. Oper. Res. 42 (2017), lemma 7: L = Σy for the Kullback–Leibler divergence.
    """

    def start(self, x: Image) -> Image:
        return _positive(self, x)

    def forward(self, x: Image) -> Image:
        """∇φ(x) = −1/x."""
        return -1 / x

    def back(self, p: Image) -> Image:
        """∇φ*(p) = −1/p; beyond p < 0 there is no image, and the result is not finite."""
        return -1 / torch.where(p < 0, p, torch.zeros_like(p))

    def unit(self, problem: Problem) -> PerImage:
        return 1 / problem.y.flatten(1).sum(1)

    def smoothness(self, problem: Problem, lam: object) -> float | PerImage:
        """Σy for counts and λ = 0."""
        counts = "counts" in problem.f.fidelity.offers()
        without_prior = bool((torch.as_tensor(lam) == 0).all())
        known = counts and without_prior and problem.f.operator.linear
        return problem.y.flatten(1).sum(1) if known else math.inf


def _positive(potential: Potential, x: Image) -> Image:
    """x, at least 1e-3."""
    if x.is_complex():
        raise ConfigError(
            f"{type(potential).__name__} needs positive images, and these are complex. Use the "
            "potential Euclidean, or PGD."
        )
    return x.clamp(min=1e-3)
