"""Richardson–Lucy deconvolution, one step late."""

from dataclasses import dataclass

import torch

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState, largest
from unfold.algorithms.nonnegative import covered, expect_nonnegative
from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_image
from unfold.typing import Image, Scalar


@dataclass(frozen=True)
class RichardsonLucy(Algorithm[ImageState]):
    """Richardson–Lucy (MLEM, one step late) for the Poisson likelihood min_x f(x) + λ g(x).

    x⁺ = x ⊙ (A*1 − ∇f(x)) / (A*1 + λ∇g(x)), where A*1 − ∇f(x) = A*(y/(Ax + b)).

    Intensities stay positive, above the rounding of the brightest one. Without a prior and a
    background every iterate accounts for all counts: ⟨A*1, x⁺⟩ = Σy. A pixel that no measurement
    covers is unchanged. A must have no negative entries.

    Args:
        lambda_reg: λ, how much the prior counts. At 0 it converges to the image of maximal
            likelihood; above 0 the prior's gradient is that of the image before, for which nothing
            is known, and the step has a meaning only where A*1 + λ∇g(x) > 0.

    Source: Shepp and Vardi, Maximum likelihood reconstruction for emission tomography, TMI 1
    (1982), equation (2.13); Green, Bayesian reconstructions from emission tomography data using a
    modified EM algorithm, TMI 9 (1990), equation (5), for the prior one step late.
    """

    needs_f = frozenset({"counts"})
    solves = "f + λg, the prior one step late: without a guarantee"
    needs_g = frozenset({"grad"})

    lambda_reg: Scalar = param(0.05, nonnegative)

    def init(self, problem: Problem) -> ImageState:
        expect_nonnegative(self, problem)
        return ImageState(x=positive_start(problem))

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, lam = problem.f, problem.g, self.lambda_reg
        above = f.column_sums - f.grad(state.x)
        below = f.column_sums + lam * g.grad(state.x)
        x = bounded_below(state.x * update(above, below, f.column_sums))
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        return Guarantee("lambda_reg = 0", largest(self.lambda_reg) == 0)


def positive_start(problem: Problem) -> Image:
    """x₀ with every pixel at least a tenth of the mean intensity; 1 where nothing is bright."""
    x = problem.start
    # From much less, a pixel that is bright in truth takes many factors to come back.
    floor = 0.1 * x.clamp(min=0).flatten(1).mean(1)
    return torch.maximum(x, per_image(torch.where(floor > 0, floor, torch.ones_like(floor)), x))


def bounded_below(x: Image) -> Image:
    """x with every pixel at least 100ε of the brightest, ε the unit of rounding."""
    # A convolution by Fourier transforms would make a negative rate of a dark region.
    least = 100 * torch.finfo(x.dtype).eps * x.flatten(1).amax(1)
    return torch.maximum(x, per_image(least, x))


def update(above: Image, below: Image, sums: Image) -> Image:
    """`above` / `below`, never negative; 1 at a pixel whose column sums up to 0."""
    some = covered(sums)
    safe = torch.where(some, below, torch.ones_like(below))
    # A difference that is 0 in exact arithmetic may come out below it.
    return torch.where(some, above.clamp(min=0) / safe, torch.ones_like(above))
