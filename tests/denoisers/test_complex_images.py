"""Real networks on complex images: each representation written by hand; what holds on the parts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.denoisers.test_denoisers import KINDS
from tests.engine import DOUBLE, difference, normal, uniform
from unfold.algorithms.learned_primal_dual import DualBlock, LearnedPrimalDual, PrimalBlock
from unfold.algorithms.pgd import PGD
from unfold.compatibility import check_contraction
from unfold.denoisers.denoiser import Denoiser, InHalfPrecision
from unfold.denoisers.dncnn import ConditionalDnCNN, DnCNN, SmoothDnCNN
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ShapeError
from unfold.fidelities.l2 import L2
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import NoNoise
from unfold.priors.denoiser_priors import RED, GradientStep, PnP
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import make_problem
from unfold.random import Draws

every_kind = pytest.mark.parametrize("kind", KINDS)
representations = pytest.mark.parametrize("by", ["parts", "magnitude_phase"])
LEVELS = torch.tensor([0.05, 0.2, 0.4], dtype=DOUBLE).reshape(3, 1, 1, 1)


def network(kind: type, channels: int) -> Denoiser:
    torch.manual_seed(0)
    made = kind(channels, 3, 4).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def complex_images(batch: int = 3, channels: int = 1) -> Tensor:
    return normal(batch, channels, 6, 5, dtype=torch.complex128)


def by_hand(D: Denoiser, v: Tensor, sigma: Tensor, by: str, together: bool) -> Tensor:
    """Image by image in NumPy, the network taking one real array at a time."""
    images = []
    for one, level in zip(v.numpy(), sigma, strict=True):
        pair = (one.real, one.imag)
        if by == "magnitude_phase":
            pair = (np.abs(one), np.arctan2(one.imag, one.real) / (2 * math.pi) + 0.5)
        if together:
            both = D(torch.from_numpy(np.concatenate(pair))[None], float(level))[0].numpy()
            a, b = both[: len(one)], both[len(one) :]
        else:
            a, b = (D(torch.from_numpy(part)[None], float(level))[0].numpy() for part in pair)
        images.append(
            a * np.exp(2j * math.pi * (b - 0.5)) if by == "magnitude_phase" else a + 1j * b
        )
    return torch.from_numpy(np.stack(images))


@every_kind
@representations
@pytest.mark.parametrize("together", [True, False])
@torch.no_grad()
def test_it_is_the_one_written_by_hand_and_sees_no_batch(kind: type, by: str, together: bool):
    D = network(kind, 2 if together else 1)
    v = complex_images()
    found = D.denoise(v, LEVELS, by)
    assert found.dtype == v.dtype
    assert difference(found, by_hand(D, v, LEVELS, by, together)) < 1e-12
    for i in range(3):
        alone = D.denoise(v[i : i + 1], LEVELS[i : i + 1], by)
        assert difference(found[i : i + 1], alone) < 1e-13


@representations
@torch.no_grad()
def test_several_channels_keep_their_order(by: str):
    D, v = network(ConditionalDnCNN, 6), complex_images(channels=3)
    assert difference(D.denoise(v, LEVELS, by), by_hand(D, v, LEVELS, by, True)) < 1e-12


class Identity(Denoiser):
    channels = 1

    def forward(self, v: Tensor, sigma: object) -> Tensor:
        return v


@representations
def test_a_network_that_changes_nothing_returns_the_image_and_its_gradient(by: str):
    v = complex_images()
    v[0, 0, 0] = 0  # where a phase has no derivative
    v.requires_grad_()
    out = Identity().denoise(v, 0.1, by)
    assert difference(out, v) < 1e-14
    (gradient,) = torch.autograd.grad(out.abs().square().sum(), v)
    assert gradient.isfinite().all() and difference(gradient, 2 * v) < 1e-12


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
@torch.no_grad()
def test_a_nonexpansive_network_stays_so_on_the_parts(channels: int, size: float):
    torch.manual_seed(0)
    D = NonexpansiveResNet(channels, 3, 4, 0.99).double()
    for p in D.parameters():
        p.add_(size * torch.randn_like(p))
    for seed in range(4):
        a, b = (normal(2, 1, 6, 6, seed=seed + s, dtype=torch.complex128) for s in (0, 10))
        moved = 2 * (D.denoise(a, 0.0) - D.denoise(b, 0.0)) - (a - b)
        assert bool((moved.flatten(1).norm(dim=1) <= (a - b).flatten(1).norm(dim=1)).all())
    assert PnP(D).nonexpansive and not PnP(D, representation="magnitude_phase").nonexpansive


def test_an_equilibrium_of_phases_is_warned_of():
    D = NonexpansiveResNet(1, 3, 4)
    check_contraction(PGD(), PnP(D), strict=True)
    with pytest.warns(UserWarning, match="nothing is known of its Lipschitz constant, where"):
        check_contraction(PGD(), PnP(D, representation="magnitude_phase"), strict=False)


@representations
@pytest.mark.parametrize("channels", [1, 2])
def test_the_priors_of_a_denoiser_are_their_formulas(by: str, channels: int):
    v, D = complex_images(), network(SmoothDnCNN, channels)
    denoised = D.denoise(v, 0.05, by)
    assert difference(PnP(D, representation=by).prox(v, 0.3), denoised) < 1e-14
    assert difference(RED(D, representation=by).grad(v), v - denoised) < 1e-14
    prior = GradientStep(D, representation=by)
    step, direction = 1e-6, normal(3, 1, 6, 5, seed=4, dtype=torch.complex128)
    ends = [prior.value(v + s * direction) for s in (step, -step)]
    slope = (prior.grad(v) * direction.conj()).real.sum((1, 2, 3))
    assert difference(slope, (ends[0] - ends[1]) / (2 * step)) < 1e-6


@torch.no_grad()
def test_half_precision_keeps_the_representation():
    D, v = network(DnCNN, 1).float(), complex_images().to(torch.complex64)
    for by in ("parts", "magnitude_phase"):
        half = InHalfPrecision(D).denoise(v, 0.1, by)
        assert half.dtype == v.dtype and 0 < difference(half, D.denoise(v, 0.1, by)) < 0.1


def test_learned_primal_dual_takes_coils_and_complex_numbers_as_channels():
    physics = MultiCoilMRI(NoNoise(), RandomColumns(2.0, 0.2), coils=3)
    draws = Draws(0, range(2), dtype=DOUBLE)
    y, A = physics.measure(uniform(2, 1, 8, 6), draws)
    torch.manual_seed(0)
    own = LearnedPrimalDual(PrimalBlock(2, 3, 3, 4).double(), DualBlock(6, 2, 3, 4).double())
    at = make_problem(L2(), A, y, Tikhonov())
    state = own.init(at)
    x, u = [at.start] * 3, [torch.zeros_like(y[:, 0])] * 2
    for _ in range(3):
        state = own.step(state, at)
        fields = torch.cat((*u, A.A(x[1])[:, 0], y[:, 0]), 1)
        moved = own.dual.layers(torch.cat((fields.real, fields.imag), 1))
        u = list((torch.cat(u, 1) + torch.complex(moved[:, :6], moved[:, 6:])).split(3, 1))
        fields = torch.cat((*x, A.A_adjoint(u[0][:, None])), 1)
        moved = own.primal.layers(torch.cat((fields.real, fields.imag), 1))
        x = list((torch.cat(x, 1) + torch.complex(moved[:, :3], moved[:, 3:])).split(1, 1))
        assert difference(own.image(state), x[0]) < 1e-12
    with pytest.raises(
        ShapeError, match=r"of complex numbers; set LearnedPrimalDual.dual.channels=6"
    ):
        replace(own, dual=DualBlock(3)).init(at)


def test_learned_primal_dual_of_one_coil_keeps_a_real_image_real():
    physics = MRI(NoNoise(), RandomColumns(2.0, 0.2), real_images=True)
    y, A = physics.measure(uniform(2, 1, 8, 6), Draws(0, range(2), dtype=DOUBLE))
    own = LearnedPrimalDual(PrimalBlock(1, 3, 3, 4).double(), DualBlock(2, 2, 3, 4).double())
    at = make_problem(L2(), A, y, Tikhonov())
    assert not own.image(own.step(own.init(at), at)).is_complex()
