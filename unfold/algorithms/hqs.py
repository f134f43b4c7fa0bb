"""Half-quadratic splitting."""

from dataclasses import dataclass

from torch import Tensor

from unfold.algorithms.algorithm import Guarantee, ImageAlgorithm, ImageState, smallest
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Scalar


@dataclass(frozen=True)
class HQS(ImageAlgorithm):
    """Half-quadratic splitting for min_{x,u} λ g(x) + f(u) + ‖x − u‖²/(2γ).

    x⁺ = prox_{γλg}(prox_{γf}(x)).

    For a fixed γ it minimises λg(x) + min_u f(u) + ‖x − u‖²/(2γ), in which the Moreau envelope of f
    stands for f: not f + λg. A schedule that lowers γ leads towards f + λg.

    Args:
        stepsize: γ, any positive number, or a schedule such as `Geometric`.
        lambda_reg: λ, how much the prior counts.

    Source: Geman and Yang, Nonlinear image recovery with half-quadratic regularization, TIP 4
    (1995); its convergence is that of Bauschke, Combettes and Reich, The asymptotic behavior of the
    composition of two resolvents, Nonlinear Anal. 60 (2005).
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"prox"})
    solves = "λg + the Moreau envelope of f"

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, gamma, lam = problem.f, problem.g, self.stepsize, self.lambda_reg
        u = f.prox(state.x, gamma)
        x = g.prox(u, gamma * lam)
        return ImageState(x)

    def penalty(self, state: ImageState, problem: Problem) -> Tensor | None:
        f, g, gamma = problem.f, problem.g, self.stepsize
        return g.penalty(f.prox(state.x, gamma)) if g.penalizes else None

    def guarantee(self, problem: Problem) -> Guarantee:
        condition = "stepsize > 0, the same in all iterations, for λg + the Moreau envelope of f"
        return Guarantee(condition, smallest(self.stepsize) > 0)
