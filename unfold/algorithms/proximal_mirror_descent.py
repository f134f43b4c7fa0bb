"""Bregman proximal gradient descent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState, flat
from unfold.algorithms.potentials import BurgEntropy, Euclidean, NegativeEntropy, Potential
from unfold.errors import ConfigError, listing
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.priors.box import Box
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import Problem
from unfold.pytree import per_image
from unfold.typing import Image, Scalar


@dataclass(frozen=True)
class ProximalMirrorDescent(Algorithm[ImageState]):
    """Bregman proximal gradient descent with potential φ for min_x f(x) + λ g(x).

    x⁺ = argmin_u tλg(u) + φ(u) − ⟨∇φ(x) − t∇f(x), u⟩, t = τ times the unit of φ.

    This is the prox of tλg in the Bregman distance of φ, after a step of mirror descent. It has a
    closed form for the pairs of a potential and a prior in `CLOSED_FORMS`, and for `Euclidean` with
    every prior that has a prox; other pairs are refused.

    Args:
        potential: φ. Its unit is 1/‖A‖², and 1/Σy for `BurgEntropy`.
        stepsize: τ; converges for t ≤ 1/L where Lφ − f is convex.
        lambda_reg: λ, how much the prior counts.

    Raises:
        ConfigError: the potential and the prior have no closed form.

    Source: Bauschke, Bolte and Teboulle, A descent lemma beyond Lipschitz gradient continuity,
    Math. Oper. Res. 42 (2017), algorithm NoLips and theorem 1.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"prox"})

    potential: Potential = field(default_factory=NegativeEntropy)
    stepsize: Scalar = param(0.9, positive)
    lambda_reg: Scalar = param(0.05, positive)

    def init(self, problem: Problem) -> ImageState:
        closed_form(self.potential, problem.g)
        return ImageState(x=self.potential.start(problem.start))

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, phi, lam = problem.f, problem.g, self.potential, self.lambda_reg
        t = self.stepsize * per_image(phi.unit(problem), state.x)
        p = phi.forward(state.x) - t * f.grad(state.x)
        x = closed_form(phi, g)(g, p, t * lam)
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        t = flat(self.stepsize) * self.potential.unit(problem)
        condition = "stepsize · unit ≤ 1/L, f L-smooth relative to φ"
        return Guarantee.when(condition, t * self.potential.smoothness(problem, 0.0) <= 1)


Form = Callable[[Prior, Image, Scalar], Image]
"""argmin_u w g(u) + φ(u) − ⟨p, u⟩ from g, p and w."""


def _burg_tikhonov(g: Prior, p: Image, weight: Scalar) -> Image:
    """The root u > 0 of wu − 1/u = p, without cancellation for either sign of p."""
    root = torch.sqrt(p * p + 4 * weight)
    return torch.where(p < 0, 2 / (root - p), (root + p) / (2 * weight))


def _burg_box(g: Prior, p: Image, weight: Scalar) -> Image:
    # Where p ≥ 0 the minimum over u > 0 does not exist, and the box ends the ascent.
    free = torch.where(p < 0, -1 / torch.where(p < 0, p, -torch.ones_like(p)), torch.inf)
    return g.prox(free, weight)


CLOSED_FORMS: Mapping[tuple[type[Potential], type[Prior]], Form] = {
    (BurgEntropy, Tikhonov): _burg_tikhonov,
    (BurgEntropy, L1): lambda _, p, w: BurgEntropy().back(p - w),
    (BurgEntropy, Box): _burg_box,
    (NegativeEntropy, L1): lambda _, p, w: NegativeEntropy().back(p - w),
    (NegativeEntropy, Box): lambda g, p, w: g.prox(NegativeEntropy().back(p), w),
}
"""On positive images ‖u‖₁ is Σu. In one variable the nearest point of an interval is its clip."""


def closed_form(phi: Potential, g: Prior) -> Form:
    """The Bregman prox of a pair.

    Raises:
        ConfigError: there is none; lists those that exist.
    """
    if isinstance(phi, Euclidean):
        return lambda g, p, weight: g.prox(p, weight)
    found = CLOSED_FORMS.get((type(phi), type(g)))
    if found is None:
        pairs = [f"{phi.__name__} with {g.__name__}" for phi, g in CLOSED_FORMS]
        raise ConfigError(
            f"ProximalMirrorDescent has no closed form for {type(phi).__name__} with the prior "
            f"{type(g).__name__}. With one: {listing([*pairs, 'Euclidean with any prox'])}. "
            "MirrorDescent takes every prior with a gradient."
        )
    return found
