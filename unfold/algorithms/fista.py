"""Accelerated proximal gradient descent."""

from dataclasses import dataclass
from typing import NamedTuple

from unfold.algorithms.algorithm import Algorithm, Guarantee, flat
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.parameters.schedules import ChambolleDossal
from unfold.problem import Problem
from unfold.typing import Image, Scalar

ROUNDING = 1e-6
"""A step of exactly 1/L_f, computed in single precision, may come out above it."""


class FISTAState(NamedTuple):
    """The current image and its extrapolation."""

    x: Image
    z: Image


@dataclass(frozen=True)
class FISTA(Algorithm[FISTAState]):
    """Accelerated proximal gradient descent for min_x f(x) + λ g(x).

    x⁺ = prox_{τλg}(z − τ∇f(z));  z⁺ = x⁺ + μ_k(x⁺ − x).

    What depends on k is a parameter and not state: μ_k is a schedule. An equilibrium has no k and
    takes a number in its place.

    Args:
        stepsize: τ; converges for τ ≤ 1/L_f.
        lambda_reg: λ, how much the prior counts.
        momentum: μ_k; `ChambolleDossal` or `BeckTeboulle` for the rate 1/k², or a number in [0, 1).

    Source: Chambolle and Dossal, On the convergence of the iterates of the fast iterative
    shrinkage/thresholding algorithm, JOTA 166 (2015); Beck and Teboulle, A fast iterative
    shrinkage-thresholding algorithm for linear inverse problems, SIAM J. Imaging Sci. 2 (2009),
    equations (4.1) to (4.3). For a constant μ: Attouch and Cabot, Convergence rates of inertial
    forward-backward algorithms, SIAM J. Optim. 28 (2018).
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    momentum: Scalar = param(ChambolleDossal(), Interval(0.0, 1.0))

    def init(self, problem: Problem) -> FISTAState:
        return FISTAState(x=problem.start, z=problem.start)

    def step(self, state: FISTAState, problem: Problem) -> FISTAState:
        f, g, tau, lam = problem.f, problem.g, self.stepsize, self.lambda_reg
        x = g.prox(state.z - tau * f.grad(state.z), tau * lam)
        z = x + self.momentum * (x - state.x)
        return FISTAState(x, z)

    def at_rest(self, state: FISTAState) -> FISTAState:
        return FISTAState(state.x, state.x)

    def guarantee(self, problem: Problem) -> Guarantee:
        scaled, mu = flat(self.stepsize) * problem.lipschitz, flat(self.momentum)
        condition = "0 < stepsize ≤ 1/L_f and momentum < 1"
        return Guarantee.when(condition, scaled <= 1 + ROUNDING, mu < 1)
