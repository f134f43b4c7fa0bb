"""Douglas–Rachford splitting."""

from dataclasses import dataclass
from typing import NamedTuple

from unfold.algorithms.algorithm import Algorithm, Guarantee, largest, smallest
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Image, Scalar


class DRSState(NamedTuple):
    """z carries the iteration; v is the image that the prior made last."""

    z: Image
    v: Image


@dataclass(frozen=True)
class DRS(Algorithm[DRSState]):
    """Douglas–Rachford splitting for min_x f(x) + λ g(x).

    x = prox_{γf}(z);  v⁺ = prox_{γλg}(2x − z);  z⁺ = z + β(v⁺ − x).

    Args:
        stepsize: γ, any positive number.
        lambda_reg: λ, how much the prior counts.
        beta: β in (0, 2), over-relaxation above 1; 1 is the plain method.

    Source: Eckstein and Bertsekas, On the Douglas–Rachford splitting method and the proximal point
    algorithm for maximal monotone operators, Math. Program. 55 (1992), theorem 7; in the form of
    Combettes and Pesquet, A Douglas–Rachford splitting approach to nonsmooth convex variational
    signal recovery, IEEE J. Sel. Top. Signal Process. 1 (2007).
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.0, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> DRSState:
        return DRSState(z=problem.start, v=problem.start)

    def step(self, state: DRSState, problem: Problem) -> DRSState:
        f, g = problem.f, problem.g
        gamma, lam, beta = self.stepsize, self.lambda_reg, self.beta
        x = f.prox(state.z, gamma)
        v = g.prox(2 * x - state.z, gamma * lam)
        z = state.z + beta * (v - x)
        return DRSState(z, v)

    def image(self, state: DRSState) -> Image:
        return state.v

    def guarantee(self, problem: Problem) -> Guarantee:
        holds = smallest(self.beta) > 0 and largest(self.beta) < 2
        return Guarantee("stepsize > 0 and 0 < beta < 2", holds)
