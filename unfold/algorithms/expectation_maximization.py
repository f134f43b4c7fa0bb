"""Expectation maximisation for counts: Richardson and Lucy's iteration (MLEM), ordered subsets."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState, largest
from unfold.algorithms.sirt import covered, expect_nonnegative
from unfold.parameters.bounds import at_least, bounded
from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_image
from unfold.typing import Image, Measurement, Scalar


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

    lambda_reg: Scalar = param(0.0, nonnegative)

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


@dataclass(frozen=True)
class OSEM(Algorithm[ImageState]):
    """Ordered-subsets expectation maximisation for the Poisson likelihood min_x f(x).

    For each subset s in turn: x ← x ⊙ A*(m_s ⊙ y/(Ax + b)) / A*m_s.

    One step is one pass over all subsets; m_s selects the entries s, s + n, s + 2n, … of the
    measurement. There is no place for a prior, and learned parts of a prior cannot act. A must have
    no negative entries.

    It is as fast at first as n steps of MLEM, and then goes round in a cycle near the image of
    maximal likelihood instead of converging; `RichardsonLucy` converges.

    Args:
        subsets: n; 1 is MLEM.

    Source: Hudson and Larkin, Accelerated image reconstruction using ordered subsets of projection
    data, TMI 13 (1994), section II-C.
    """

    needs_f = frozenset({"counts"})
    uses_g = False
    solves = "f, nearly: it ends in a cycle"

    subsets: int = bounded(4, at_least(1))

    def init(self, problem: Problem) -> ImageState:
        expect_nonnegative(self, problem)
        return ImageState(x=positive_start(problem))

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        d, y, A, A_adjoint = problem.f.fidelity, problem.y, problem.A, problem.A_adjoint
        x = state.x
        for m in self._masks(y):
            sums = A_adjoint(m)
            above = A_adjoint(m * (1 - d.grad(A(x), y)))
            x = bounded_below(x * update(above, sums, sums))
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        return Guarantee("subsets = 1", self.subsets == 1)

    def _masks(self, y: Measurement) -> Iterator[Measurement]:
        position = torch.arange(y[0].numel(), device=y.device).reshape(y.shape[1:])
        for s in range(self.subsets):
            yield (position % self.subsets == s).to(y.dtype).expand_as(y)
