"""Proximal gradient descent."""

from dataclasses import dataclass

from torch import Tensor

from unfold.algorithms.algorithm import Guarantee, ImageAlgorithm, ImageState, flat
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Scalar


@dataclass(frozen=True)
class PGD(ImageAlgorithm):
    """Proximal gradient descent for min_x f(x) + λ g(x).

    x⁺ = prox_{τλg}(x − τ∇f(x)).

    Args:
        stepsize: τ; converges for τ < 2/L_f, which is 2/‖A‖² for least squares.
        lambda_reg: λ, how much the prior counts.

    Source: Combettes and Wajs, Signal recovery by proximal forward–backward splitting, Multiscale
    Model. Simul. 4 (2005), theorem 3.4.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, tau, lam = problem.f, problem.g, self.stepsize, self.lambda_reg
        x = g.prox(state.x - tau * f.grad(state.x), tau * lam)
        return ImageState(x)

    def penalty(self, state: ImageState, problem: Problem) -> Tensor | None:
        f, g, tau = problem.f, problem.g, self.stepsize
        return g.penalty(state.x - tau * f.grad(state.x)) if g.penalizes else None

    def guarantee(self, problem: Problem) -> Guarantee:
        scaled = flat(self.stepsize) * problem.lipschitz
        return Guarantee.when("0 < stepsize < 2/L_f", scaled < 2)
