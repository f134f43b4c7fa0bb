"""Gradient descent, Landweber's iteration and the heavy-ball method."""

from dataclasses import dataclass
from typing import NamedTuple

from unfold.algorithms.algorithm import (
    Algorithm,
    Guarantee,
    ImageAlgorithm,
    ImageState,
    curvature,
    flat,
)
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Image, Scalar


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

    def guarantee(self, problem: Problem) -> Guarantee:
        mu = flat(self.momentum)
        scaled = flat(self.stepsize) * curvature(problem, self.lambda_reg)
        condition = "momentum < 1 and stepsize < 2(1 − momentum)/(L_f + lambda_reg·L_g)"
        return Guarantee.when(condition, mu < 1, scaled < 2 * (1 - mu))
