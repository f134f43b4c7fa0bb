"""Properties of priors, denoisers and data terms: PR1 to PR10."""

from collections.abc import Iterator
from math import lcm

import torch
from torch import Tensor

from unfold.denoisers.denoiser import Denoiser
from unfold.denoisers.lipschitz import lipschitz
from unfold.fidelities.fidelity import Fidelity, data_term
from unfold.physics.custom.functions import USER_ERRORS
from unfold.physics.denoising import Identity
from unfold.priors.denoiser_priors import DenoiserPrior
from unfold.priors.prior import Prior
from unfold.pytree import batched_inner, batched_norm, per_image
from unfold.testing import proximal
from unfold.testing.proximal import gaussian
from unfold.testing.report import Check, Report, holds, report

SIDES = ((1, 1), (1, 5), (2, 3), (7, 8))
"""Sides of the images that a network must keep."""


def check_prior(prior: Prior, *, gap: float = 0.0, seed: int = 100, multiple: int = 1) -> Report:
    """Check what a prior offers against its definition.

    Args:
        prior: in float64 where it holds a network.
        gap: relative duality gap of an inexact prox.
        seed: of the images.
        multiple: which the sides of the images of a network are multiples of.
    """
    return report(type(prior).__name__, _properties(prior, gap, seed, multiple))


def _properties(prior: Prior, gap: float, seed: int, multiple: int) -> Iterator[Check]:
    offers, network = prior.offers(), isinstance(prior, DenoiserPrior)
    channels = prior.denoiser.channels if isinstance(prior, DenoiserPrior) else 1
    if isinstance(prior, DenoiserPrior):
        needed = next((n for n in (multiple << k for k in range(6)) if _keeps(prior, n)), None)
        remedy = f"set data.multiple_of={needed}" if needed else "pad inside the network"
        name = f"D keeps sides that are multiples of {multiple}"
        kept = needed == multiple
        yield holds("PR10", name if kept else f"{name}: {remedy}", kept)
        multiple = needed or multiple
    side = lcm(8, multiple)
    x = 0.5 + 0.3 * gaussian(2, channels, side, side, seed=seed)
    if "prox" in offers:
        yield from _prox(prior, x, gap, seed, convex="value" in offers and not network)
    if {"grad", "value"} <= offers:
        yield from proximal.gradient(prior.value, prior.grad, x)
    if "grad" in offers:
        yield from proximal.differentiable(prior.grad, x)
    if "analysis" in offers:
        yield from _analysis(prior, x, seed)
    if isinstance(prior, DenoiserPrior):
        yield from check_denoiser(prior.denoiser, multiple)
    for term in prior.terms if len(prior.terms) > 1 else ():
        yield from _properties(term, gap, seed, multiple)


def _prox(prior: Prior, x: Tensor, gap: float, seed: int, *, convex: bool) -> Iterator[Check]:
    weights = torch.tensor([0.2, 0.05], dtype=x.dtype)
    near = max(1e-12, 10 * gap**0.5)
    yield holds("PR10", "the prox keeps shapes", prior.prox(x, 0.1).shape == x.shape)
    yield from proximal.batch_invariance(prior.prox, x, per_image(weights, x), tol=near)
    if not convex:
        return
    yield from proximal.minimises(
        prior.prox, prior.value, x, per_image(weights, x), gap=gap, seed=seed
    )
    yield from proximal.no_weight(prior.prox, x, prior.prox(x, 1.0))
    pairs = 1000 if gap == 0 else 50
    yield from proximal.firmly_nonexpansive(
        lambda v: prior.prox(v, 0.2), *x.shape[1:], slack=near, pairs=pairs, seed=seed
    )


def _analysis(prior: Prior, x: Tensor, seed: int) -> Iterator[Check]:
    d = prior.analysis.forward(x)
    u = gaussian(*d.shape, seed=seed + 7)
    left, right = batched_inner(d, u), batched_inner(x, prior.analysis.adjoint(u))
    error = ((left - right).abs() / (batched_norm(d) * batched_norm(u))).max()
    yield Check("PR4", "⟨Kx, u⟩ = ⟨x, K*u⟩", float(error), 1e-12)
    v = gaussian(2, *x.shape[1:], seed=seed + 8)
    for _ in range(30):  # towards the image that K enlarges most
        v = prior.analysis.adjoint(prior.analysis.forward(v / per_image(batched_norm(v), v)))
    share = batched_norm(prior.analysis.forward(v)) ** 2 / batched_norm(v) ** 2
    excess = float(share.max()) / prior.analysis_norm_squared - 1
    yield Check("PR4", "‖K‖² is not above its bound", max(excess, 0.0), 1e-12)
    best = batched_inner(d, prior.project(1e9 * d, 0.7))
    error = ((best - 0.7 * prior.value(x)).abs() / prior.value(x).clamp(min=1e-12)).max()
    yield Check("PR4", "g(x) = max ⟨Kx, p⟩ over the dual ball", float(error), 1e-7)
    inside = prior.project(u, 0.7)
    twice = prior.project(inside, 0.7)
    yield Check("PR4", "project is a projection", float((twice - inside).abs().max()), 1e-12)


@torch.no_grad()
def _keeps(prior: DenoiserPrior, multiple: int) -> bool:
    """Whether the network keeps the sides of images that are multiples of a number."""
    p = next(prior.denoiser.parameters(), torch.zeros((), dtype=torch.float64))
    for sides in SIDES:
        v = p.new_zeros(1, prior.denoiser.channels, *(side * multiple for side in sides))
        try:
            if prior.denoise(v).shape != v.shape:
                return False
        except USER_ERRORS:  # of layers whose outputs do not fit together
            return False
    return True


def check_denoiser(denoiser: Denoiser, multiple: int = 1) -> Iterator[Check]:
    """Sizes are kept, every level gives finite values, and claimed properties hold."""
    p = next(denoiser.parameters(), torch.zeros((), dtype=torch.float64))
    with torch.no_grad():
        for height, width in SIDES:
            sides = height * multiple, width * multiple
            v = gaussian(2, denoiser.channels, *sides, seed=9, dtype=p.dtype)
            for sigma in (0.0, 1e-3, 1.0):
                out = denoiser(v, sigma)
                fine = out.shape == v.shape and bool(out.isfinite().all())
                yield holds("PR10", "D keeps sizes and stays finite", fine)
    if denoiser.nonexpansive:
        size = lipschitz(lambda t: 2 * denoiser(t, 0.05) - t, denoiser.channels, p)
        yield Check("PR9", "2D − I is nonexpansive as claimed", max(size - 1, 0.0), 1e-6)


def check_fidelity(fidelity: Fidelity, *, seed: int = 200) -> Report:
    """The gradient, the prox and the prox of the conjugate of d, and those of f = d(I·, y)."""
    return report(type(fidelity).__name__, _fidelity_properties(fidelity, seed))


def _fidelity_properties(fidelity: Fidelity, seed: int) -> Iterator[Check]:
    shape = (2, 1, 4, 5)
    y = gaussian(*shape, seed=seed).abs() + 0.1
    v = gaussian(*shape, seed=seed + 1).abs() + 0.2
    provides = fidelity.provides
    weights = per_image(torch.tensor([0.3, 1.5], dtype=y.dtype), y)

    def value(z: Tensor) -> Tensor:
        return fidelity.value(z, y.repeat(len(z) // len(y), 1, 1, 1))

    if "grad" in provides:
        yield from proximal.gradient(value, lambda z: fidelity.grad(z, y), v)
        f = data_term(fidelity, Identity(shape[1:]), y)
        error = float((f.grad(v) - fidelity.grad(v, y)).abs().max())
        yield Check("PR7", "∇f = A*∇d(Ax, y)", error, 1e-12)
    if "prox_conj" not in provides:
        return
    yield from proximal.minimises(lambda z, w: fidelity.prox(z, y, w), value, v, weights, seed=seed)
    yield from proximal.moreau(
        lambda z, w: fidelity.prox(z, y, w), lambda z, w: fidelity.prox_conj(z, y, w), v, weights
    )


def in_double(prior: Prior) -> Prior:
    """The same prior with its networks in float64."""
    return prior.with_denoisers(lambda denoiser: denoiser.double())
