"""The alternating direction method of multipliers."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import Algorithm, Guarantee, largest
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Image, Scalar


class ADMMState(NamedTuple):
    """x fits the data, z the prior, u is the scaled dual variable of x = z."""

    x: Image
    z: Image
    u: Image


@dataclass(frozen=True)
class ADMM(Algorithm[ADMMState]):
    """Alternating direction method of multipliers for min_x f(x) + λ g(x), split as x = z.

    x⁺ = prox_{γf}(z − u);  x̂ = βx⁺ + (1 − β)z;  z⁺ = prox_{γλg}(x̂ + u);  u⁺ = u + x̂ − z⁺.

    Args:
        stepsize: γ, any positive number.
        lambda_reg: λ, how much the prior counts.
        beta: β in (0, 2), over-relaxation above 1; 1 is the plain method.

    Source: Boyd et al., Distributed optimization and statistical learning via ADMM, Found. Trends
    Mach. Learn. 3 (2011), equations (3.5) to (3.7) and section 3.4.3, with γ = 1/ρ.
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.0, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> ADMMState:
        return ADMMState(x=problem.start, z=problem.start, u=torch.zeros_like(problem.start))

    def step(self, state: ADMMState, problem: Problem) -> ADMMState:
        f, g = problem.f, problem.g
        gamma, lam, beta = self.stepsize, self.lambda_reg, self.beta
        x = f.prox(state.z - state.u, gamma)
        relaxed = beta * x + (1 - beta) * state.z
        z = g.prox(relaxed + state.u, gamma * lam)
        u = state.u + relaxed - z
        return ADMMState(x, z, u)

    def image(self, state: ADMMState) -> Image:
        return state.z

    def guarantee(self, problem: Problem) -> Guarantee:
        return Guarantee("stepsize > 0 and 0 < beta < 2", 0 < largest(self.beta) < 2)
