"""Ridge regularisers: size, gradient, convexity, and the published networks written by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad

from tests.config.folder import refusal
from tests.denoisers.test_denoisers import shaken
from tests.engine import DOUBLE, difference, normal, uniform
from unfold import build
from unfold.denoisers.denoiser import InHalfPrecision
from unfold.denoisers.experts import FieldOfExperts, cosine_basis
from unfold.denoisers.mappings import convert
from unfold.denoisers.ridge import (
    ConvexRidge,
    Potential,
    WeaklyConvexRidge,
    norm_squared,
)
from unfold.errors import ConfigError, ShapeError
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.priors.ridge import LearnedPotential

KINDS = [ConvexRidge, WeaklyConvexRidge, FieldOfExperts]
every_kind = pytest.mark.parametrize("kind", KINDS)


def trained(kind: type[Potential], channels: int = 1, seed: int = 1) -> Potential:
    """With weights of the size that training gives."""
    torch.manual_seed(seed)
    network = kind(channels).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in network.named_parameters():
            size = {"coefficients": 0.02, "convex_part": 10.0, "concave_part": 10.0}.get(name, 0.2)
            p.add_(size * torch.randn(p.shape, generator=g, dtype=DOUBLE))
    return network


def test_their_sizes_are_those_of_the_papers():
    def size(network: Potential) -> int:
        return sum(p.numel() for p in network.parameters())

    assert size(ConvexRidge(1)) == 13_610
    assert size(WeaklyConvexRidge(1, (4, 8, 60), 5)) == 13_763
    # each stage also has the weight of the data: TNRD 5x5 in five stages, CSF 3x3 in four
    assert 5 * (size(FieldOfExperts(1)) + 1) == 10_445
    assert 5 * (size(FieldOfExperts(1, 48, 7)) + 1) == 26_645
    assert 4 * (size(FieldOfExperts(1, 8, 3, 53)) + 1) == 1_956
    assert 4 * (size(FieldOfExperts(1, 24, 5, 53)) + 1) == 7_396


@every_kind
@pytest.mark.parametrize("channels", [1, 2])
def test_the_gradient_is_that_of_the_value_and_differentiable(kind, channels):
    R, x = trained(kind, channels), uniform(2, channels, 7, 5).requires_grad_()
    for sigma in (0.05, torch.tensor([0.03, 0.2], dtype=DOUBLE).reshape(2, 1, 1, 1)):
        (want,) = torch.autograd.grad(R.value(x, sigma).sum(), x)
        assert difference(R.grad(x, sigma), want) < 1e-10 * float(want.norm())
    c, p = normal(2, channels, 7, 5, seed=3), uniform(2, channels, 7, 5, seed=4)
    step = 1e-6 * p
    (along,) = torch.autograd.grad((R.grad(x, 0.05) * c).sum(), x)
    with torch.no_grad():
        rise = ((R.grad(x + step, 0.05) - R.grad(x - step, 0.05)) * c).sum() / 2
    assert abs(float((along * step).sum() - rise)) < 1e-4 * abs(float(rise)) + 1e-12


@every_kind
@torch.no_grad()
def test_images_of_every_size_keep_it_and_each_has_its_own_level(kind):
    R = trained(kind)
    for sides in ((1, 1), (1, 5), (3, 2)):
        v = uniform(2, 1, *sides)
        assert R(v, 0.1).shape == v.shape and R.value(v, 0.1).shape == (2,)
        assert R(v, 0.0).isfinite().all()
    levels = torch.tensor([0.05, 0.1], dtype=DOUBLE).reshape(2, 1, 1, 1)
    v = uniform(2, 1, 6, 6)
    assert difference(R.grad(v, levels)[1:], R.grad(v[1:], 0.1)) < 1e-12
    assert difference(R.prepared().grad(v, levels), R.grad(v, levels)) == 0
    assert R.uses_sigma == (difference(R.grad(v, 0.05), R.grad(v, 0.1)) > 0)


@every_kind
def test_every_weight_gets_a_gradient_from_the_first_batch(kind):
    torch.manual_seed(0)
    R = kind(1)
    (R(torch.rand(4, 1, 24, 24), 0.1) - 0.5).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in R.parameters())


@every_kind
@torch.no_grad()
def test_what_is_not_finite_stays_so_and_breaks_nothing(kind):
    v = torch.zeros(2, 1, 8, 8)
    v[0, 0, 4, 4], v[0, 0, 1, 1] = torch.nan, torch.inf
    out = kind(1)(v, 0.1)
    assert not out[0].isfinite().all() and out[1].isfinite().all()


@every_kind
def test_other_channels_and_sizes_without_meaning_are_refused(kind):
    with pytest.raises(ShapeError, match=r"expects 3 channels, got \(1, 1, 4, 4\)"):
        kind(3).grad(torch.rand(1, 1, 4, 4), 0.1)
    for given, text in (
        ({"channels": 0}, "channels = 0"),
        ({"size": 4}, "size = 4: must be 1 to 31, odd"),
        ({"knots": 1}, "knots = 1: must be 3 to"),
        ({"knots": 10**9 + 1}, "knots = 1000000001: must be 3 to"),
    ):
        with pytest.raises(ConfigError, match=text):
            kind(**given)


def hessian(R: Potential, x: Tensor) -> Tensor:
    n = x.numel()
    found = torch.autograd.functional.jacobian(lambda z: R.grad(z, 0.1), x)
    return found.reshape(n, n)


@pytest.mark.parametrize("seed", range(3))
def test_the_convex_one_is_convex_the_other_weakly_and_none_exceeds_its_constant(seed):
    x = 0.3 * normal(1, 1, 6, 7, seed=seed)
    for R, least in (
        (trained(ConvexRidge, seed=seed), 0.0),
        (trained(WeaklyConvexRidge, seed=seed), -1.0),
    ):
        H = hessian(R, x)
        assert difference(H, H.mT) < 1e-10 * float(H.norm())
        values = torch.linalg.eigvalsh(H)
        assert float(values[0]) > least - 1e-9
        # far below the bound under which a step of gradient descent is nonexpansive
        assert float(values[-1]) <= 1.02 * float(torch.as_tensor(R.lipschitz(0.1)).detach())


def test_the_norm_is_that_of_periodic_images():
    for channels in (1, 2):
        weights = [normal(4, channels, 3, 3), normal(3, 4, 3, 3, seed=2)]
        n = 12
        basis = torch.eye(channels * n * n, dtype=DOUBLE).reshape(-1, channels, n, n)
        u = basis
        for w in weights:
            u = conv2d(pad(u, (1, 1, 1, 1), mode="circular"), w)
        truth = float(torch.linalg.matrix_norm(u.flatten(1), 2)) ** 2
        assert abs(float(norm_squared(weights, n)) / truth - 1) < 1e-10


def published_spline(c: Tensor, x: Tensor, low: float, step: float) -> Tensor:
    """Linear interpolation per channel, written out value by value."""
    out = torch.empty_like(x)
    for f in range(x.shape[1]):
        row = c[f % len(c)]
        t = (x[:, f] - low) / step
        i = t.floor().clamp(0, len(row) - 2).long()
        out[:, f] = row[i] * (i + 1 - t) + row[i + 1] * (t - i)
    return out


def crr_by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """λ Wᵀφ(μWx) of a checkpoint in the published layout."""
    key = "conv_layer.conv_layers.{}.parametrizations.weight.original"
    convolutions = [state[key.format(i)] for i in range(2)]
    convolutions = [w - w.mean((1, 2, 3), keepdim=True) for w in convolutions]
    c = state["activation.coefficients_vect"].reshape(len(convolutions[-1]), -1)
    slopes = (c[:, 1:] - c[:, :-1]).clamp(min=0)
    slopes[:, 0] = slopes[:, -1] = 0
    c = torch.cat((torch.zeros_like(c[:, :1]), slopes.cumsum(1)), 1)
    c = c - c[:, c.shape[1] // 2, None]
    u = state["mu"] * x
    for w in convolutions:
        u = conv2d(u, w, padding=w.shape[-1] // 2)
    u = published_spline(c, u, -0.1, 0.2 / (c.shape[1] - 1))
    for w in reversed(convolutions):
        u = conv_transpose2d(u, w, padding=w.shape[-1] // 2)
    return state["lmbd"] * u


def wcrr_by_hand(state: dict[str, Tensor], x: Tensor, sigma: float) -> Tensor:
    """Wᵀφ(Wx, σ) of a checkpoint in the published layout, ‖W‖ as in its training."""
    first = state["conv_layer.conv_layers.0.parametrizations.weight.original"]
    convolutions = [first - first.mean((1, 2, 3), keepdim=True)]
    convolutions += [state[f"conv_layer.conv_layers.{i}.weight"] for i in (1, 2)]

    def W(x: Tensor) -> Tensor:
        for w in convolutions:
            x = conv2d(x, w, padding=2)
        return x

    def back(u: Tensor) -> Tensor:
        for w in reversed(convolutions):
            u = conv_transpose2d(u, w, padding=2)
        return u

    dirac = torch.zeros(1, 1, 25, 25, dtype=DOUBLE)
    dirac[0, 0, 12, 12] = 1
    L = torch.fft.fft2(pad(back(W(dirac)), (121, 121, 121, 121))).abs().max()
    parts = []
    for name in ("activation_cvx", "activation_ccv"):
        c = state[f"{name}.coefficients"]
        slopes = ((c[:, 1:] - c[:, :-1]) / 0.002).clamp(0, 1)
        slopes[:, 0] = slopes[:, -1] = 0
        c = 0.002 * torch.cat((torch.zeros_like(c[:, :1]), slopes.cumsum(1)), 1)
        parts.append(0.5 * (c - c.flip(1)))
    s = state["spline_scaling.coefficients"]
    level = torch.full((1, len(s), 1, 1), 255 * sigma, dtype=DOUBLE)
    scale = published_spline(s, level, 0.0, 3.0).exp() / (255 * sigma + 1e-5)
    u = scale * W(x / L.sqrt())
    up, down = (published_spline(c, u, -0.1, 0.002) for c in parts)
    return back((state["mu_"].exp() * up - down) / scale) / L.sqrt()


def checkpoint(name: str) -> dict[str, Tensor]:
    """Random weights with the published names and sizes."""
    layer = "conv_layer.conv_layers.{}."
    original = "parametrizations.weight.original"
    if name == "crr":
        return {
            "lmbd": torch.tensor(3.7, dtype=DOUBLE),
            "mu": torch.tensor(1.3, dtype=DOUBLE),
            layer.format(0) + original: 0.1 * normal(8, 1, 7, 7),
            layer.format(1) + original: 0.1 * normal(32, 8, 7, 7, seed=2),
            "activation.coefficients_vect": 0.01 * normal(32 * 21, seed=3),
            "L": torch.tensor(1.0, dtype=DOUBLE),
        }
    return {
        layer.format(0) + original: 0.2 * normal(4, 1, 5, 5),
        layer.format(1) + "weight": 0.2 * normal(8, 4, 5, 5, seed=2),
        layer.format(2) + "weight": 0.2 * normal(60, 8, 5, 5, seed=3),
        "activation_cvx.coefficients": 0.01 * normal(1, 101, seed=4),
        "activation_ccv.coefficients": torch.linspace(-0.1, 0.1, 101, dtype=DOUBLE)[None],
        "mu_": torch.tensor(2.5, dtype=DOUBLE),
        "spline_scaling.coefficients": 2 + 0.3 * normal(60, 11, seed=6),
    }


@pytest.mark.parametrize("name", ["crr", "wcrr"])
@torch.no_grad()
def test_published_weights_give_the_published_gradient(name: str):
    network = ConvexRidge(1) if name == "crr" else WeaklyConvexRidge(1, (4, 8, 60), 5)
    network = network.double()
    state, x = checkpoint(name), uniform(1, 1, 19, 14)
    converted, report = convert(name, state, network.state_dict(), type(network).__name__, 1)
    assert "left over: none" in report and "never run on a released file" in report
    network.load_state_dict(converted)
    if name == "crr":
        want = crr_by_hand(state, x)
        assert difference(network.grad(x, 0.1), want) < 1e-12 * float(want.norm())
        return
    for sigma in (5 / 255, 25 / 255, 35 / 255):
        want = wcrr_by_hand(state, x, sigma)
        # theirs has 267 frequencies per axis
        assert difference(network.grad(x, sigma), want) < 1e-4 * float(want.norm())


@torch.no_grad()
def test_experts_are_gaussians_of_unit_filters_in_the_cosine_basis():
    n = 5
    B = cosine_basis(n)
    assert difference(B @ B.mT, torch.eye(n * n - 1)) < 1e-5 and B.sum(1).abs().max() < 1e-5
    network = shaken(FieldOfExperts(1, 3, n, 7), 0.2)
    x, gamma = uniform(1, 1, 9, 8), 10 / 255
    want = torch.zeros_like(x)
    wide = pad(x, (2, 2, 2, 2), mode="replicate")
    unit = network.coefficients / network.coefficients.norm(dim=1, keepdim=True)
    filters = (unit @ B.double()).reshape(3, 1, n, n)
    z = conv2d(wide, filters)
    centres = gamma * torch.arange(-3, 4, dtype=DOUBLE)
    phi = sum(
        network.weights[:, j].reshape(1, 3, 1, 1) * (-((z - m) ** 2) / (2 * gamma**2)).exp()
        for j, m in enumerate(centres)
    )
    back = conv_transpose2d(phi, filters)
    rows = (torch.arange(13) - 2).clamp(0, 8)
    columns = (torch.arange(12) - 2).clamp(0, 7)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            want[0, 0, r, c] += back[0, 0, i, j]
    assert difference(network.grad(x, 0.0), want) < 1e-4 * float(want.norm())
    assert difference(network(x, 0.0), x - network.grad(x, 0.0)) == 0


@every_kind
@torch.no_grad()
def test_the_prior_takes_complex_images_part_by_part_or_together(kind):
    x = torch.complex(uniform(2, 1, 6, 5), uniform(2, 1, 6, 5, seed=2))
    one = LearnedPotential(trained(kind), 0.1)
    assert difference(one.grad(x), torch.complex(one.grad(x.real), one.grad(x.imag))) < 1e-12
    assert difference(one.value(x), one.value(x.real) + one.value(x.imag)) < 1e-10
    two = LearnedPotential(trained(kind, 2), 0.1)
    both = torch.cat((x.real, x.imag), 1)
    assert difference(two.value(x), two.value(both)) < 1e-12
    assert difference(two.grad(x), torch.complex(*two.grad(both).chunk(2, 1))) < 1e-12
    levels = LearnedPotential(
        trained(kind), torch.tensor([0.1, 0.2], dtype=DOUBLE).reshape(2, 1, 1, 1)
    )
    assert difference(levels.grad(x)[:1], one.grad(x[:1])) < 1e-12


@every_kind
@torch.no_grad()
def test_its_prox_is_a_step_that_descends_for_every_weight(kind):
    prior, v = LearnedPotential(trained(kind), 0.1, steps=1), uniform(2, 1, 9, 9)
    w = 1e-3 if kind is FieldOfExperts else 3.0
    L = prior.lipschitz if isinstance(prior.lipschitz, Tensor) else 0.0
    x = prior.prox(v, w)
    assert difference(x, v - w * prior.grad(v) / (1 + w * L)) < 1e-12
    rise = 0.5 * (x - v).square().flatten(1).sum(1) + w * (prior.value(x) - prior.value(v))
    assert (rise < 0).all()
    assert torch.equal(prior.prox(v, 0.0), v)


@torch.no_grad()
@pytest.mark.parametrize("kind", [ConvexRidge, WeaklyConvexRidge])
def test_more_steps_reach_the_prox(kind):
    network, v = trained(kind), uniform(1, 1, 9, 9)
    w = 4 / float(network.lipschitz(torch.tensor(0.1, dtype=DOUBLE)))
    x = LearnedPotential(network, 0.1, steps=1000).prox(v, w)
    prior = LearnedPotential(network, 0.1, steps=10)
    assert difference(x - v, -w * prior.grad(x)) < 1e-9  # 0 is in the derivative at the minimum
    assert difference(prior.prox(v, w), x) < 0.2 * difference(prior.prox(v, 0.0), x)
    plain, tau = v, 1 / (1 + w * prior.lipschitz)
    for _ in range(10):
        plain = plain - tau * (plain - v + w * prior.grad(plain))
    assert difference(prior.prox(v, w), x) < 0.5 * difference(plain, x)


@torch.no_grad()
def test_a_potential_grows_with_the_square_of_the_noise_level_of_each_measurement():
    network, x = trained(WeaklyConvexRidge), uniform(2, 1, 9, 9)
    levels = torch.tensor([0.02, 0.1], dtype=DOUBLE).reshape(2, 1, 1, 1)
    prior = LearnedPotential(network, 0.08, level=levels, reference=0.05)
    for i, factor in enumerate((0.16, 4.0)):  # of R itself, (0.02/0.05)² and (0.1/0.05)²
        one, plain = x[i : i + 1], LearnedPotential(network, 0.08)
        assert difference(prior.value(x)[i], factor * plain.value(one)[0]) < 1e-10
        assert difference(prior.grad(x)[i], factor * plain.grad(one)[0]) < 1e-12
        assert difference(prior.prox(x, 0.01)[i], plain.prox(one, 0.01 * factor)[0]) < 1e-12
        assert difference(prior.lipschitz[i], factor * plain.lipschitz) < 1e-9
        free = LearnedPotential(network, 0.08, steps=None, level=levels, reference=0.05)
        alone = LearnedPotential(network, 0.08, steps=None)
        assert difference(free.prox(x, 0.01)[i], alone.prox(one, 0.01 * factor)[0]) < 1e-12
    quiet = LearnedPotential(network, 0.08, level=0.0, reference=1e-3)
    assert difference(quiet.grad(x), plain.grad(x)) < 1e-12  # no noise is a quarter of 1/255


def test_a_potential_that_grows_with_noise_needs_its_level():
    net = build("algo=pgd", "prior=wcrr", "model.iterations=1").reconstructor
    x = uniform(1, 1, 16, 16).float()
    with pytest.raises(ConfigError, match=r"LearnedPotential.level = noise_level"):
        net(x, Denoising(Gaussian(0.1)).operator_for(x))
    assert difference(net(x, Denoising(Gaussian(0.1))), net(x, Denoising(Gaussian(0.2)))) > 1e-3


def test_lower_precision_leaves_it_as_it_is_and_other_changes_reach_it():
    prior = LearnedPotential(ConvexRidge(1))
    assert prior.with_denoisers(InHalfPrecision).denoiser is prior.denoiser
    assert prior.with_denoisers(lambda one: one.double()).denoiser.strength.dtype == DOUBLE


def test_the_prior_refuses_what_is_no_potential():
    text = refusal(
        "algo=gd", "prior=crr", "prior.denoiser={_target_: unfold.denoisers.dncnn.DnCNN}"
    )
    assert "DnCNN" in text and "Potential" in text
    with pytest.raises(ConfigError, match="representation = magnitude_phase"):
        LearnedPotential(ConvexRidge(1), representation="magnitude_phase")
    for features in ([], [1024, 1024, 1024], [1] * 9):
        with pytest.raises(ConfigError, match=r"ConvexRidge\.features"):
            ConvexRidge(1, features=features, size=31)


@torch.no_grad()
def test_a_convex_one_is_a_firmly_nonexpansive_denoiser():
    from unfold.denoisers.lipschitz import lipschitz

    R = trained(ConvexRidge)
    assert lipschitz(lambda v: 2 * R(v, 0.1) - v, 1, R.strength) <= 1 + 1e-3
    assert PnP(R, 0.1).prox(uniform(1, 1, 5, 5), 0.3).shape == (1, 1, 5, 5)
    assert (
        LearnedPotential(R).nonexpansive
        and not LearnedPotential(trained(WeaklyConvexRidge)).nonexpansive
    )
    assert math.isinf(FieldOfExperts(1).lipschitz(0.1))
