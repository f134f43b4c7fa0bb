"""Primal–dual methods for analysis priors over a box, with a duality gap."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import BoxAlgorithm, Guarantee, flat, largest
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import batched_inner, per_field
from unfold.typing import Field, Image, PerImage, Scalar


def relative_box_gap(
    x: Image, u: Field, lam: Scalar, box: tuple[float, float], problem: Problem
) -> PerImage | None:
    """(P(x) − D(p, u)) / P(x) for P = d(A·, y) + λh(K·) over the images in [low, high].

    With p = ∇d(Ax, y), d(Ax, y) + d*(p) = ⟨A*p, x⟩, and with v = −(A*p + K*u) the gap is
    Σ (λ|Kx| − u·Kx) + Σ (max(low·v, high·v) − v·x): two sums of terms that are never negative, so
    that no digits cancel. The box makes every pair (p, u) with u in the dual ball of h feasible.

    None where d is not convex and differentiable, as this pair of dual variables needs, or A is not
    linear.
    """
    low, high = box
    f, g = problem.f, problem.g
    if not (f.fidelity.convex and "grad" in f.fidelity.offers() and f.operator.linear):
        return None
    p = f.fidelity.grad(problem.A(x), problem.y)
    v = -(problem.A_adjoint(p) + g.analyse_adjoint(u))
    regularised = flat(lam) * g.value(x)
    prior_part = regularised - batched_inner(u, g.analyse(x))
    box_part = (torch.maximum(low * v, high * v) - v * x).flatten(1).sum(1)
    primal = f.value(x) + regularised
    return (prior_part + box_part) / primal.clamp(min=torch.finfo(primal.dtype).tiny)


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

    ratio: Scalar = param(0.05, positive)
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.9, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> AnalysisPDHGState:
        x = problem.start
        return AnalysisPDHGState(x, torch.zeros_like(problem.g.analyse(x)), torch.zeros_like(x))

    def step(self, state: AnalysisPDHGState, problem: Problem) -> AnalysisPDHGState:
        f, g, lam, beta = problem.f, problem.g, self.lambda_reg, self.beta
        tau = self.ratio / lam
        sigma = 1 / (tau * (g.analysis_norm_squared + 1))
        z = state.x - tau * (g.analyse_adjoint(state.u) + state.q)
        # Where the prox takes iterations they begin at x, which it returns at the minimiser.
        x = f.prox(z, tau, state.x)
        x_bar = 2 * x - state.x
        u = g.project(state.u + per_field(sigma, state.u) * g.analyse(x_bar), lam)
        q = state.q + sigma * x_bar
        q = q - sigma * (q / sigma).clamp(self.low, self.high)
        pairs = zip(state, (x, u, q), strict=True)
        return AnalysisPDHGState(*(old + beta * (new - old) for old, new in pairs))

    def image(self, state: AnalysisPDHGState) -> Image:
        return state.x.clamp(self.low, self.high)

    def guarantee(self, problem: Problem) -> Guarantee:
        return Guarantee("ratio > 0 and 0 < beta < 2", 0 < largest(self.beta) < 2)

    def relative_gap(self, state: AnalysisPDHGState, problem: Problem) -> PerImage | None:
        """That of the clipped image and of u, projected after the relaxation."""
        u = problem.g.project(state.u, self.lambda_reg)
        box = (self.low, self.high)
        return relative_box_gap(self.image(state), u, self.lambda_reg, box, problem)


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
        x = problem.start.clamp(self.low, self.high)
        return CondatVuState(x=x, u=torch.zeros_like(problem.g.analyse(x)))

    def step(self, state: CondatVuState, problem: Problem) -> CondatVuState:
        f, g = problem.f, problem.g
        tau, sigma, lam = self.stepsize, self.stepsize_dual, self.lambda_reg
        x = state.x - tau * (f.grad(state.x) + g.analyse_adjoint(state.u))
        x = x.clamp(self.low, self.high)
        u = g.project(state.u + per_field(sigma, state.u) * g.analyse(2 * x - state.x), lam)
        return CondatVuState(x, u)

    def guarantee(self, problem: Problem) -> Guarantee:
        norm = problem.g.analysis_norm_squared
        slack = 1 / flat(self.stepsize) - flat(self.stepsize_dual) * norm
        condition = "1/stepsize − stepsize_dual·‖K‖² ≥ L_f/2"
        return Guarantee.when(condition, slack >= problem.lipschitz / 2)

    def relative_gap(self, state: CondatVuState, problem: Problem) -> PerImage | None:
        box = (self.low, self.high)
        return relative_box_gap(state.x, state.u, self.lambda_reg, box, problem)
