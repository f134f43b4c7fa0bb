"""Backward–backward splitting."""

from dataclasses import dataclass

from torch import Tensor

from unfold.algorithms.algorithm import Guarantee, ImageAlgorithm, ImageState, smallest
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Scalar


@dataclass(frozen=True)
class BackwardBackward(ImageAlgorithm):
    """Backward–backward splitting for min_{x,u} f(x) + λ g(u) + ‖x − u‖²/(2γ).

    x⁺ = prox_{γf}(prox_{γλg}(x)).

    It is `HQS` read out after the step on f, so that the image agrees with the measurement. It
    minimises f(x) + min_u λg(u) + ‖x − u‖²/(2γ), in which the Moreau envelope of λg stands for λg.

    Args:
        stepsize: γ, any positive number, or a schedule such as `Geometric`.
        lambda_reg: λ, how much the prior counts.

    Source: Bauschke, Combettes and Reich, The asymptotic behavior of the composition of two
    resolvents, Nonlinear Anal. 60 (2005). With a network for prox_{γλg} it is the iteration of
    Aggarwal, Mani and Jacob, MoDL, IEEE Trans. Med. Imaging 38 (2019), equation 9, with 1/γ as λ.
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"prox"})
    solves = "f + the Moreau envelope of λg"

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, gamma, lam = problem.f, problem.g, self.stepsize, self.lambda_reg
        u = g.prox(state.x, gamma * lam)
        x = f.prox(u, gamma)
        return ImageState(x)

    def penalty(self, state: ImageState, problem: Problem) -> Tensor | None:
        return problem.g.penalty(state.x) if problem.g.penalizes else None

    def guarantee(self, problem: Problem) -> Guarantee:
        condition = "stepsize > 0, the same in all iterations, for f + the Moreau envelope of λg"
        return Guarantee(condition, smallest(self.stepsize) > 0)
