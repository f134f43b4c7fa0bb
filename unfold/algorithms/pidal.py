"""Augmented Lagrangian splitting of every term by itself."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import BoxAlgorithm, Guarantee, smallest
from unfold.errors import ConfigError
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.physics.denoising import Identity
from unfold.priors.prior import Prior
from unfold.problem import Problem
from unfold.pytree import per_field
from unfold.solvers.conjugate_gradient import SumSystem, solve_sum
from unfold.solvers.linear_map import LinearMap
from unfold.typing import Field, Image, Scalar


class Split(NamedTuple):
    """v stands for Hx; u is the scaled dual variable of Hx = v."""

    v: Field
    u: Field


class PIDALState(NamedTuple):
    """The image, and the splits of the data, of the prior's terms, and of the box."""

    x: Image
    data: Split
    terms: tuple[Split, ...]
    box: Split


@dataclass(frozen=True)
class PIDAL(BoxAlgorithm[PIDALState]):
    """ADMM with one split for each term, for min_x d(Ax, y) + λ Σ gᵢ(x) over images in [low, high].

    x⁺ = argmin_x Σ_j ‖H_j x − v_j + u_j‖²/(2γ_j);
    v_j⁺ = prox_{γ_j h_j}(H_j x⁺ + u_j);  u_j⁺ = u_j + H_j x⁺ − v_j⁺.

    Minimises d(Ax, y) + λ Σ g_i(x) over the images in [low, high], with a split for each: H = A for
    the data, K for a term with an analysis operator, I for other terms and for the box. No prox
    through an operator is needed, so that the data may be counts. The image comes from conjugate
    gradients on I + Σ K*K + (γ/γ_d) A*A, started from the image before.

    Args:
        stepsize: γ of the prior and of the box, any positive number.
        stepsize_data: γ_d of the data, any positive number.
        lambda_reg: λ, how much the prior counts.

    Raises:
        ConfigError: low is not below high, or a term of the prior has neither a prox nor an
            analysis operator.

    Source: Figueiredo and Bioucas-Dias, Restoration of Poissonian images using alternating
    direction optimization, TIP 19 (2010), algorithm PIDAL; for least squares it is C-SALSA without
    its constraint, Afonso, Bioucas-Dias and Figueiredo, TIP 20 (2011).
    """

    needs_f = frozenset({"prox_conj"})

    stepsize: Scalar = param(1.0, positive)
    stepsize_data: Scalar = param(1.0, positive, "‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)

    def init(self, problem: Problem) -> PIDALState:
        x = problem.start
        _check(problem.g.terms)
        images = [H.forward(x) for H in _maps(problem)]
        terms = tuple(Split(v, torch.zeros_like(v)) for v in images)
        v = problem.A(x)
        box = Split(self.clip(x), torch.zeros_like(x))
        return PIDALState(x, Split(v, torch.zeros_like(v)), terms, box)

    def step(self, state: PIDALState, problem: Problem) -> PIDALState:
        y, d, gamma_d = problem.y, problem.f.fidelity, self.stepsize_data
        weight = self.stepsize * self.lambda_reg
        x = self._agree(state, problem)
        q = problem.A(x) + state.data.u
        v = d.prox(q, y, per_field(gamma_d, q))
        data = Split(v, q - v)
        parts = zip(problem.g.terms, _maps(problem), state.terms, strict=True)
        terms = tuple(_update(g, H.forward(x) + old.u, weight) for g, H, old in parts)
        q = x + state.box.u
        v = self.clip(q)
        return PIDALState(x, data, terms, Split(v, q - v))

    def image(self, state: PIDALState) -> Image:
        return state.box.v

    def guarantee(self, problem: Problem) -> Guarantee:
        holds = min(smallest(self.stepsize), smallest(self.stepsize_data)) > 0
        return Guarantee("stepsize > 0 and stepsize_data > 0", holds)

    def _agree(self, state: PIDALState, problem: Problem) -> Image:
        ratio, maps = self.stepsize / self.stepsize_data, _maps(problem)
        b = ratio * problem.A_adjoint(state.data.v - state.data.u) + state.box.v - state.box.u
        for H, split in zip(maps, state.terms, strict=True):
            b = b + H.adjoint(split.v - split.u)
        own = Identity(problem.f.operator.image_shape)
        weights = ((problem.f.operator, ratio), *((H, 1.0) for H in (*maps, own)))
        return solve_sum(SumSystem(weights), b, state.x.detach())


def _maps(problem: Problem) -> list[LinearMap]:
    """H of each term: K where it has one."""
    own: LinearMap = Identity(problem.f.operator.image_shape)
    return [g.analysis if "shrinkage" in g.offers() else own for g in problem.g.terms]


def _update(term: Prior, q: Field, weight: Scalar) -> Split:
    """prox_{wh}(q), and what is left."""
    v = term.shrink(q, weight) if "shrinkage" in term.offers() else term.prox(q, weight)
    return Split(v, q - v)


def _check(terms: tuple[Prior, ...]) -> None:
    for term in terms:
        if not term.offers() & {"shrinkage", "prox"}:
            raise ConfigError(
                f"PIDAL needs a prox or an analysis operator of each term of the prior, and "
                f"{type(term).__name__} has neither; GD needs only a gradient."
            )
