"""Condat–Vũ primal–dual splitting, with a box."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import BoxAlgorithm, Guarantee, flat
from unfold.algorithms.duality import relative_box_gap
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_field
from unfold.typing import Field, Image, PerImage, Scalar


class CondatVuState(NamedTuple):
    """The image and the dual variable of the prior."""

    x: Image
    u: Field


@dataclass(frozen=True)
class CondatVu(BoxAlgorithm[CondatVuState]):
    """Condat–Vũ splitting for min_x f(x) + λ h(Kx) over images in [low, high], g = h∘K.

    x⁺ = clip(x − τ∇f(x) − τK*u);  u⁺ = prox_{σ(λh)*}(u + σK(2x⁺ − x)), for g = h∘K.

    Args:
        stepsize: τ; converges for 1/τ − σ‖K‖² ≥ ‖A‖²/2.
        stepsize_dual: σ; relative to ‖A‖², not to its inverse, so that the condition transfers.
        lambda_reg: λ, how much the prior counts.

    Source: Condat, A primal–dual splitting method for convex optimization involving Lipschitzian,
    proximable and linear composite terms, JOTA 158 (2013), algorithm 3.1 with ρ = 1.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"analysis"})

    stepsize: Scalar = param(0.95, positive, "1/‖A‖²")
    stepsize_dual: Scalar = param(0.06, positive, "‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)

    def init(self, problem: Problem) -> CondatVuState:
        x = self.clip(problem.start)
        return CondatVuState(x=x, u=torch.zeros_like(problem.g.analysis.forward(x)))

    def step(self, state: CondatVuState, problem: Problem) -> CondatVuState:
        f, g = problem.f, problem.g
        tau, sigma, lam = self.stepsize, self.stepsize_dual, self.lambda_reg
        x = state.x - tau * (f.grad(state.x) + g.analysis.adjoint(state.u))
        x = self.clip(x)
        d = g.analysis.forward(2 * x - state.x)
        u = g.project(state.u + per_field(sigma, state.u) * d, lam)
        return CondatVuState(x, u)

    def guarantee(self, problem: Problem) -> Guarantee:
        norm = problem.g.analysis_norm_squared
        slack = 1 / flat(self.stepsize) - flat(self.stepsize_dual) * norm
        condition = "1/stepsize − stepsize_dual·‖K‖² ≥ L_f/2"
        return Guarantee.when(condition, slack >= problem.lipschitz / 2)

    def relative_gap(self, state: CondatVuState, problem: Problem) -> PerImage | None:
        return relative_box_gap(self, self.lambda_reg, state.x, state.u, problem)
