"""Gradient descent."""

import math
from dataclasses import dataclass

from unfold.algorithms.algorithm import Guarantee, ImageAlgorithm, ImageState, curvature, flat
from unfold.errors import IncompatibleError
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Scalar


@dataclass(frozen=True)
class GD(ImageAlgorithm):
    """Gradient descent for min_x f(x) + λ g(x).

    x⁺ = x − τ(∇f(x) + λ∇g(x)), or with τ/(1 + τλL_g) in place of τ where it is `damped`.

    Args:
        stepsize: τ; converges for τ < 2/(L_f + λL_g), the Lipschitz constants of ∇f and ∇g, and
            for τ < 2/L_f where it is damped.
        lambda_reg: λ, how much the prior counts.
        damped: whether the step shrinks with L_g, so that a prior that is learned stays stable.

    Source: Nesterov, Introductory lectures on convex optimization (2004), theorem 2.1.14.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"grad"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.05, positive)
    damped: bool = False

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, tau, lam = problem.f, problem.g, self._length(problem), self.lambda_reg
        x = state.x - tau * (f.grad(state.x) + lam * g.grad(state.x))
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        scaled = flat(self._length(problem)) * curvature(problem, self.lambda_reg)
        return Guarantee.when("0 < stepsize < 2/(L_f + lambda_reg·L_g)", scaled < 2)

    def _length(self, problem: Problem) -> Scalar:
        """The length of the step: τ, or τ/(1 + τλL_g)."""
        if not self.damped:
            return self.stepsize
        constant = problem.g.lipschitz
        if isinstance(constant, float) and constant == math.inf:
            raise IncompatibleError(
                "GD.damped = true needs a Lipschitz constant of ∇g, and "
                f"{type(problem.g).__name__} knows none. Set it to false, or use a prior such as "
                "LearnedPotential."
            )
        return self.stepsize / (1 + self.stepsize * self.lambda_reg * constant)
