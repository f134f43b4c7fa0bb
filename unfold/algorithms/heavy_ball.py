"""Gradient descent with momentum."""

from dataclasses import dataclass
from typing import NamedTuple

from unfold.algorithms.algorithm import Algorithm, Guarantee, curvature, flat
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Image, Scalar


class HeavyBallState(NamedTuple):
    """The current image and the one before it."""

    x: Image
    x_before: Image


@dataclass(frozen=True)
class HeavyBall(Algorithm[HeavyBallState]):
    """Gradient descent with momentum for min_x f(x) + λ g(x).

    x⁺ = x − τ(∇f(x) + λ∇g(x)) + μ(x − x₋), x₋ the image before x.

    Args:
        stepsize: τ; converges for τ < 2(1 − μ)/(L_f + λL_g), and on a quadratic objective for
            τ < 2(1 + μ)/(L_f + λL_g).
        lambda_reg: λ, how much the prior counts.
        momentum: μ in [0, 1].

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, USSR Comput.
    Math. Math. Phys. 4 (1964), section 2; the range for convex objectives is that of Ghadimi,
    Feyzmahdavian and Johansson, Global convergence of the heavy-ball method for convex
    optimization, ECC 2015, theorem 1.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"grad"})

    stepsize: Scalar = param(0.9, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.05, positive)
    momentum: Scalar = param(0.5, Interval(0.0, 1.0))

    def init(self, problem: Problem) -> HeavyBallState:
        return HeavyBallState(x=problem.start, x_before=problem.start)

    def step(self, state: HeavyBallState, problem: Problem) -> HeavyBallState:
        f, g, tau, lam = problem.f, problem.g, self.stepsize, self.lambda_reg
        descent = state.x - tau * (f.grad(state.x) + lam * g.grad(state.x))
        x = descent + self.momentum * (state.x - state.x_before)
        return HeavyBallState(x, state.x)

    def at_rest(self, state: HeavyBallState) -> HeavyBallState:
        return HeavyBallState(state.x, state.x)

    def guarantee(self, problem: Problem) -> Guarantee:
        mu = flat(self.momentum)
        scaled = flat(self.stepsize) * curvature(problem, self.lambda_reg)
        condition = "momentum < 1 and stepsize < 2(1 − momentum)/(L_f + lambda_reg·L_g)"
        return Guarantee.when(condition, mu < 1, scaled < 2 * (1 - mu))
