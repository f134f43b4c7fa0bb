"""Denoisers: shapes, levels, precision, and nonexpansiveness by construction."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from tests.engine import DOUBLE, difference, normal, uniform
from tests.proximal_properties import assert_firmly_nonexpansive
from unfold.denoisers.averaged import AveragedDnCNN
from unfold.denoisers.denoiser import Denoiser, InHalfPrecision
from unfold.denoisers.dncnn import ConditionalDnCNN, DnCNN, SmoothDnCNN
from unfold.denoisers.drunet import DRUNet
from unfold.denoisers.ffdnet import FFDNet
from unfold.denoisers.nonexpansive import NonexpansiveResNet, lipschitz_bound
from unfold.denoisers.unet import UNet
from unfold.errors import ConfigError, ShapeError

KINDS = [
    *(DnCNN, ConditionalDnCNN, NonexpansiveResNet, SmoothDnCNN, UNet),
    *(DRUNet, FFDNet, AveragedDnCNN),
]
every_kind = pytest.mark.parametrize("kind", KINDS)


def shaken(network: Denoiser, size: float, seed: int = 0) -> Denoiser:
    """The network with large random weights."""
    network = network.double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(size * torch.randn(p.shape, generator=g, dtype=DOUBLE))
    return network


@every_kind
@torch.no_grad()
def test_every_size_keeps_its_shape_and_is_finite(kind: type[Denoiser]):
    for channels in (1, 3):
        network = kind(channels, 3, 4)
        for height, width in itertools.product((1, 2, 3, 7), repeat=2):
            v = torch.rand(2, channels, height, width)
            for sigma in (0.0, 1e-3, 1.0):
                out = network(v, sigma)
                assert out.shape == v.shape and out.isfinite().all() and out.dtype == v.dtype


@pytest.mark.parametrize("kind", [DnCNN, ConditionalDnCNN, SmoothDnCNN, UNet, AveragedDnCNN])
@torch.no_grad()
def test_untrained_it_is_nearly_the_identity(kind: type[Denoiser]):
    torch.manual_seed(0)
    v = torch.rand(1, 3, 16, 16)
    assert (kind()(v, 0.05) - v).abs().mean() < 0.1


@torch.no_grad()
def test_only_what_takes_a_level_reacts_to_it():
    v = uniform(2, 1, 6, 6)
    for kind in (ConditionalDnCNN, SmoothDnCNN, UNet, DRUNet, FFDNet):
        conditional = shaken(kind(1, 3, 4), 0.1)
        assert conditional.uses_sigma
        assert difference(conditional(v, 0.1), conditional(v, 0.2)) > 1e-4
        levels = torch.tensor([0.1, 0.2], dtype=DOUBLE).reshape(2, 1, 1, 1)
        both = conditional(v, levels)
        assert difference(both[:1], conditional(v[:1], 0.1)) < 1e-12
        assert difference(both[1:], conditional(v[1:], 0.2)) < 1e-12
    for kind in (DnCNN, NonexpansiveResNet, AveragedDnCNN):
        network = shaken(kind(1, 3, 4), 0.1)
        assert torch.equal(network(v, 0.1), network(v, 0.2)) and not network.uses_sigma


@every_kind
def test_every_weight_gets_a_gradient_from_the_first_batch(kind: type[Denoiser]):
    torch.manual_seed(0)
    network = kind(1, 4, 4)
    network(torch.rand(2, 1, 8, 8), 0.05).square().sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None and p.grad.any(), name


@pytest.mark.parametrize("size", [0.0, 0.3, 30.0])
@torch.no_grad()
def test_the_nonexpansive_one_is_firmly_so_whatever_its_weights(size: float):
    for channels in (1, 3):
        network = shaken(NonexpansiveResNet(channels, 3, 4, 0.99), size)
        one = network.prepared()
        assert_firmly_nonexpansive(lambda v, D=one: D(v, 0.0), channels, 4, 5, dtype=DOUBLE)


@pytest.mark.parametrize("size", [0.0, 0.3, 30.0])
def test_its_reflection_has_a_jacobian_of_norm_at_most_1(size: float):
    network = shaken(NonexpansiveResNet(1, 3, 6, 0.99), size).prepared()
    for seed in range(3):
        v = normal(1, 1, 6, 6, seed=seed)

        def reflect(x: Tensor) -> Tensor:
            return 2 * network(x, 0.0) - x

        w = normal(1, 1, 6, 6, seed=seed + 50)
        for _ in range(64):
            w = w / w.norm()
            _, pushed = torch.autograd.functional.jvp(reflect, v, w)
            _, w = torch.autograd.functional.vjp(reflect, v, pushed)
        assert float(w.norm()) ** 0.5 <= 1 + 1e-6


@torch.no_grad()
def test_a_mid_gray_image_stays_where_it_is():
    torch.manual_seed(0)
    gray = torch.full((1, 3, 24, 24), 0.5)
    out = NonexpansiveResNet(3, 4, 8)(gray, 0.0)
    assert (out - 0.5).abs().max() < 1e-6


def periodic_norm(weight: Tensor, side: int) -> float:
    """The norm of the convolution on periodic images of side × side, by a dense SVD."""
    n = weight.shape[1] * side * side
    basis = torch.eye(n, dtype=DOUBLE).reshape(n, weight.shape[1], side, side)
    around = pad(basis, (1, 1, 1, 1), mode="circular")
    return float(torch.linalg.matrix_norm(conv2d(around, weight).flatten(1), 2))


def kernels() -> list[Tensor]:
    shapes = [(1, 1), (4, 4), (2, 6), (6, 2)]
    found = [normal(a, b, 3, 3, seed=i) for i, (a, b) in enumerate(shapes)]
    identity = torch.zeros(3, 3, 3, 3, dtype=DOUBLE)
    identity[range(3), range(3), 1, 1] = 1
    ramp = torch.tensor([1.0, 2.0, 1.0], dtype=DOUBLE)
    return [*found, identity, (ramp[:, None] * ramp)[None, None], 1e-8 * found[1], 1e8 * found[1]]


@pytest.mark.parametrize("i", range(8))
def test_the_bound_is_above_the_norm_and_near(i: int):
    weight = kernels()[i]
    bound, truth = float(lipschitz_bound(weight)), periodic_norm(weight, 12)
    assert bound >= truth
    # a grid of 12 x 12 frequencies comes within some percent of the supremum
    assert bound <= 1.17 * truth


def test_the_bound_is_above_the_transfer_matrix_at_every_frequency_and_within_a_tenth():
    for weight in kernels():
        transfer = torch.fft.fft2(weight, s=(64, 64)).permute(2, 3, 0, 1)
        truth = float(torch.linalg.matrix_norm(transfer, 2).max())
        assert truth * (1 - 1e-12) <= float(lipschitz_bound(weight)) <= 1.06 * truth


def test_the_bound_is_differentiable_and_finite_where_a_kernel_vanishes():
    assert torch.autograd.gradcheck(lipschitz_bound, normal(2, 2, 3, 3).requires_grad_())
    assert lipschitz_bound(torch.zeros(2, 2, 3, 3, dtype=DOUBLE)).isfinite()
    ramp = torch.tensor([1.0, 2.0, 1.0])  # exactly 0 at the highest frequency
    weight = (ramp[:, None] * ramp)[None, None].requires_grad_()
    (grad,) = torch.autograd.grad(lipschitz_bound(weight), weight)
    assert grad.isfinite().all()


def test_prepared_is_the_same_map_with_the_same_gradient():
    network = shaken(NonexpansiveResNet(2, 3, 4), 0.5)
    v, found = uniform(2, 2, 5, 5), []
    for one in (network, network.prepared()):
        loss = one(v, 0.0).square().sum()
        found.append((one(v, 0.0), torch.autograd.grad(loss, list(network.parameters()))))
    assert torch.equal(found[0][0], found[1][0])
    assert all(map(torch.equal, found[0][1], found[1][1]))


@every_kind
def test_half_precision_is_close_and_owns_nothing(kind: type[Denoiser]):
    torch.manual_seed(0)
    network = kind(1, 4, 8)
    wrapped = InHalfPrecision(network)
    v = torch.rand(1, 1, 12, 12)
    out = wrapped(v, 0.05)
    assert out.dtype == torch.float32 and not list(wrapped.parameters())
    assert 0 < (out - network(v, 0.05)).abs().max() < 0.02
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@every_kind
def test_other_channels_and_sizes_without_meaning_are_refused(kind: type[Denoiser]):
    with pytest.raises(ShapeError, match=r"expects 3 channels, got \(1, 1, 4, 4\).*channels=1"):
        kind(3, 3, 4)(torch.rand(1, 1, 4, 4), 0.1)
    with pytest.raises(ConfigError, match=r"depth|levels|blocks"):
        kind(3, 1, 4)
    with pytest.raises(ConfigError, match="channels"):
        kind(0, 3, 4)


def test_the_smooth_one_has_derivatives_of_every_order_where_a_relu_has_a_kink():
    network = shaken(SmoothDnCNN(1, 2, 2), 0.0)
    x = torch.zeros(1, 1, 2, 2, dtype=DOUBLE, requires_grad=True)

    def slope(x: Tensor) -> Tensor:
        return torch.autograd.grad(network(x, 0.0).sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(slope, x, atol=1e-6)
    assert torch.autograd.gradgradcheck(slope, x, atol=1e-5)


def test_their_sizes_are_those_of_the_papers():
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in network.parameters())
            for network in (DnCNN(1, 17, 64), FFDNet(1, 15, 64), FFDNet(3), DRUNet(1), DRUNet(3))
        ]
    assert sizes == [555_137, 485_316, 852_108, 32_638_656, 32_640_960]


@torch.no_grad()
def test_variants_of_dncnn_scale_with_the_image_or_normalise():
    free = shaken(DnCNN(1, 4, 4, bias=False), 0.3)
    v = uniform(2, 1, 6, 6)
    assert not any("bias" in name for name, _ in free.named_parameters())
    assert difference(free(3 * v, 0.0), 3 * free(v, 0.0)) < 1e-12
    normalised = DnCNN(1, 5, 4, batch_norm=True)
    kinds = [type(layer).__name__ for layer in normalised.noise]
    assert kinds == [*("Conv2d", "ReLU"), *("Conv2d", "BatchNorm2d", "ReLU") * 3, "Conv2d"]
    with pytest.raises(ConfigError, match=r"DnCNN\.bias = False: batch_norm = True adds biases"):
        DnCNN(1, bias=False, batch_norm=True)


def test_the_nonexpansive_one_refuses_what_breaks_it():
    with pytest.raises(ConfigError, match=r"c = 1.0: must be in \(0, 1\)"):
        NonexpansiveResNet(c=1.0)
    with pytest.raises(ConfigError, match="width = 2: must be at least channels = 3"):
        NonexpansiveResNet(3, width=2)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"depth": 10**9}, r"DnCNN\.depth = 1000000000: must be at most 1000"),
        (
            {"width": 20_000},
            r"DnCNN\.width = 20000: with depth = 7 .* 3e\+10 weights; at most 3e\+08",
        ),
        ({"channels": 10**9}, r"DnCNN\.width = 32: with depth = 7 and channels = 1000000000"),
    ],
)
def test_networks_that_no_machine_holds_are_refused_before_they_are_made(sizes, message):
    with pytest.raises(ConfigError, match=message):
        DnCNN(**sizes)
