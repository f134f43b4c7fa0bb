"""Landweber's iteration."""

from dataclasses import dataclass

from unfold.algorithms.algorithm import Guarantee, ImageAlgorithm, ImageState, flat
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Scalar


@dataclass(frozen=True)
class Landweber(ImageAlgorithm):
    """Landweber's iteration for min_x f(x), regularised by early stopping.

    x⁺ = x − τ∇f(x), which is x + τA*(y − Ax) for least squares.

    There is no place for a prior: regularisation is to stop early, so that the number of iterations
    matters. Learned parts of a prior cannot act.

    Args:
        stepsize: τ; converges for τ < 2/L_f.

    Source: Landweber, An iteration formula for Fredholm integral equations of the first kind, Amer.
    J. Math. 73 (1951).
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    uses_g = False
    solves = "f"

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        x = state.x - self.stepsize * problem.f.grad(state.x)
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        scaled = flat(self.stepsize) * problem.lipschitz
        return Guarantee.when("0 < stepsize < 2/L_f", scaled < 2)
