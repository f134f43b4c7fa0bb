"""Gradient descent."""

from dataclasses import dataclass

from unfold.algorithms.algorithm import Guarantee, ImageAlgorithm, ImageState, curvature, flat
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Scalar


@dataclass(frozen=True)
class GD(ImageAlgorithm):
    """Gradient descent for min_x f(x) + λ g(x).

    x⁺ = x − τ(∇f(x) + λ∇g(x)).

    Args:
        stepsize: τ; converges for τ < 2/(L_f + λL_g), the Lipschitz constants of ∇f and ∇g.
        lambda_reg: λ, how much the prior counts.

    Source: Nesterov, Introductory lectures on convex optimization (2004), theorem 2.1.14.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"grad"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.05, positive)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, tau, lam = problem.f, problem.g, self.stepsize, self.lambda_reg
        x = state.x - tau * (f.grad(state.x) + lam * g.grad(state.x))
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        scaled = flat(self.stepsize) * curvature(problem, self.lambda_reg)
        return Guarantee.when("0 < stepsize < 2/(L_f + lambda_reg·L_g)", scaled < 2)
