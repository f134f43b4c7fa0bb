"""Primal–dual hybrid gradient, split on the prior's operator, with a box."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import BoxAlgorithm, Guarantee, largest
from unfold.algorithms.duality import relative_box_gap
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_field
from unfold.typing import Field, Image, PerImage, Scalar


class AnalysisPDHGState(NamedTuple):
    """The image, and the dual variables of the prior and of the box."""

    x: Image
    u: Field
    q: Image


@dataclass(frozen=True)
class AnalysisPDHG(BoxAlgorithm[AnalysisPDHGState]):
    """Primal–dual hybrid gradient for min_x f(x) + λ h(Kx) over images in [low, high], g = h∘K.

    x̂ = prox_{τf}(x − τ(K*u + q));  x̄ = 2x̂ − x;
    û = prox_{σ(λh)*}(u + σKx̄);  q̂ = q + σx̄ − σ clip(q/σ + x̄);
    (x, u, q)⁺ = (x, u, q) + β((x̂, û, q̂) − (x, u, q)), for g = h∘K.

    The prox of f makes it fast where A is badly conditioned; τ = ratio/λ and τσ(‖K‖² + 1) = 1 make
    it fast for every λ.

    Args:
        ratio: τλ, how long the primal steps are against the dual ones.
        lambda_reg: λ, how much the prior counts.
        beta: β in (0, 2), over-relaxation above 1.

    Source: Condat, A primal–dual splitting method for convex optimization involving Lipschitzian,
    proximable and linear composite terms, JOTA 158 (2013), algorithm 3.1 with F = 0, the prox of f
    instead of that of G, and the operator (K, I).
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"analysis"})

    ratio: Scalar = param(0.03, positive)
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.9, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> AnalysisPDHGState:
        x = problem.start
        u = torch.zeros_like(problem.g.analysis.forward(x))
        return AnalysisPDHGState(x, u, torch.zeros_like(x))

    def step(self, state: AnalysisPDHGState, problem: Problem) -> AnalysisPDHGState:
        f, g, lam, beta = problem.f, problem.g, self.lambda_reg, self.beta
        tau = self.ratio / lam
        sigma = 1 / (tau * (g.analysis_norm_squared + 1))
        z = state.x - tau * (g.analysis.adjoint(state.u) + state.q)
        # Where the prox takes iterations they begin at x, which it returns at the minimiser.
        x = f.prox(z, tau, state.x)
        x_bar = 2 * x - state.x
        u = g.project(state.u + per_field(sigma, state.u) * g.analysis.forward(x_bar), lam)
        q = state.q + sigma * x_bar
        q = q - sigma * self.clip(q / sigma)
        pairs = zip(state, (x, u, q), strict=True)
        return AnalysisPDHGState(*(old + beta * (new - old) for old, new in pairs))

    def image(self, state: AnalysisPDHGState) -> Image:
        return self.clip(state.x)

    def guarantee(self, problem: Problem) -> Guarantee:
        return Guarantee("ratio > 0 and 0 < beta < 2", 0 < largest(self.beta) < 2)

    def relative_gap(self, state: AnalysisPDHGState, problem: Problem) -> PerImage | None:
        """That of the clipped image and of u, projected after the relaxation."""
        u = problem.g.project(state.u, self.lambda_reg)
        return relative_box_gap(self, self.lambda_reg, self.image(state), u, problem)
