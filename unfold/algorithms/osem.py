"""Ordered-subsets expectation maximisation."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState
from unfold.algorithms.nonnegative import expect_nonnegative
from unfold.algorithms.richardson_lucy import bounded_below, positive_start, update
from unfold.parameters.bounds import at_least, bounded
from unfold.problem import Problem
from unfold.typing import Measurement


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
