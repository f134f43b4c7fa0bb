"""Augmented Lagrangian splitting of every term by itself."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import BoxAlgorithm, Guarantee, smallest
from unfold.errors import ConfigError
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.physics.operator import Operator
from unfold.priors.prior import Prior
from unfold.problem import Problem
from unfold.pytree import per_field
from unfold.solvers.conjugate_gradient import System, solve_system
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
        images = [analyse(term, x) for term in problem.g.terms]
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
        pairs = zip(problem.g.terms, state.terms, strict=True)
        terms = tuple(_update(term, analyse(term, x) + old.u, weight) for term, old in pairs)
        q = x + state.box.u
        v = self.clip(q)
        return PIDALState(x, data, terms, Split(v, q - v))

    def image(self, state: PIDALState) -> Image:
        return state.box.v

    def guarantee(self, problem: Problem) -> Guarantee:
        holds = min(smallest(self.stepsize), smallest(self.stepsize_data)) > 0
        return Guarantee("stepsize > 0 and stepsize_data > 0", holds)

    def _agree(self, state: PIDALState, problem: Problem) -> Image:
        ratio = self.stepsize / self.stepsize_data
        b = ratio * problem.A_adjoint(state.data.v - state.data.u) + state.box.v - state.box.u
        for term, split in zip(problem.g.terms, state.terms, strict=True):
            b = b + analyse_adjoint(term, split.v - split.u)
        system = Agreement(problem.f.operator, problem.g.terms, ratio)
        return solve_system(system, b, start=state.x.detach())


@dataclass(frozen=True, eq=False)
class Agreement(System):
    """Mx = x + Σ H*Hx + ρA*Ax, never smaller than the identity.

    Args:
        operator: A.
        terms: of the prior; H is K or I.
        ratio: ρ; a number, a 0-d tensor or (B, 1, 1, 1).
    """

    operator: Operator
    terms: tuple[Prior, ...]
    ratio: Scalar

    def apply(self, x: Image) -> Image:
        result = x + self.ratio * self.operator.normal(x)
        for term in self.terms:
            result = result + analyse_adjoint(term, analyse(term, x))
        return result


def analyse(term: Prior, x: Image) -> Field:
    """Kx of a term that has a K, else x."""
    return term.analyse(x) if "analysis" in term.offers() else x


def analyse_adjoint(term: Prior, u: Field) -> Image:
    """K*u of a term that has a K, else u."""
    return term.analyse_adjoint(u) if "analysis" in term.offers() else u


def _update(term: Prior, q: Field, weight: Scalar) -> Split:
    """prox_{wh}(q) and what is left; with a K, what is left is the projection, by Moreau."""
    if "analysis" in term.offers():
        u = term.project(q, weight)
        return Split(q - u, u)
    v = term.prox(q, weight)
    return Split(v, q - v)


def _check(terms: tuple[Prior, ...]) -> None:
    for term in terms:
        if not term.offers() & {"analysis", "prox"}:
            raise ConfigError(
                f"PIDAL needs a prox or an analysis operator of each term of the prior, and "
                f"{type(term).__name__} has neither; GD needs only a gradient."
            )
