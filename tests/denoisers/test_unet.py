"""The U-Net: its sizes, its noise level, any image, and gradients."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, pad, relu

from tests.denoisers.test_denoisers import shaken
from tests.engine import difference, uniform
from unfold.denoisers.tiled import Tiled
from unfold.denoisers.unet import UNet
from unfold.errors import ConfigError


def weights_of(width: int, levels: int, channels: int) -> int:
    """The weights and biases of a U-Net, counted from its drawing."""

    def conv(a: int, b: int, k: int = 3) -> int:
        return a * b * k * k + b

    sizes = [width * 2**i for i in range(levels)]
    down = sum(conv(a, b) + conv(b, b) for a, b in zip([channels + 1, *sizes], sizes, strict=False))
    up = sum(conv(2 * w, w, 2) + conv(2 * w, w) + conv(w, w) for w in sizes[:-1])
    return down + up + conv(width, channels)


def test_its_size_is_that_of_the_drawing():
    for channels, levels, width in ((1, 3, 32), (3, 2, 8), (2, 4, 4)):
        count = sum(p.numel() for p in UNet(channels, levels, width).parameters())
        assert count == weights_of(width, levels, channels)
    assert 4e5 < sum(p.numel() for p in UNet(1).parameters()) < 6e5


@torch.no_grad()
def test_it_is_the_formula_on_an_image_that_does_not_divide():
    network = shaken(UNet(1, 2, 3), 0.3)
    w = network.state_dict()
    v = uniform(2, 1, 5, 7)
    x = torch.cat((v, torch.full_like(v, 0.2)), 1)
    x = pad(x, (0, 1, 0, 1), mode="replicate")

    def two(name: str, x: torch.Tensor) -> torch.Tensor:
        for i in (0, 2):
            x = relu(conv2d(x, w[f"{name}.{i}.weight"], w[f"{name}.{i}.bias"], padding=1))
        return x

    fine = two("encoder.0", x)
    coarse = two("encoder.1", avg_pool2d(fine, 2))
    up = conv_transpose2d(coarse, w["up.0.weight"], w["up.0.bias"], stride=2)
    out = two("decoder.0", torch.cat((up, fine), 1))
    R = conv2d(out, w["tail.weight"], w["tail.bias"], padding=1)[..., :5, :7]
    assert difference(network(v, 0.2), v - R) < 1e-12


@torch.no_grad()
def test_a_scaled_correction_vanishes_with_the_noise():
    plain, scaled = (shaken(UNet(1, 2, 4, scaled=s), 0.3) for s in (False, True))
    scaled.load_state_dict(plain.state_dict())
    v = uniform(2, 1, 6, 6)
    assert torch.equal(scaled(v, 0.0), v) and difference(plain(v, 0.0), v) > 0.01
    for sigma in (0.3, torch.tensor([0.1, 0.2], dtype=v.dtype).reshape(2, 1, 1, 1)):
        assert difference(v - scaled(v, sigma), sigma * (v - plain(v, sigma))) < 1e-12


@torch.no_grad()
def test_attention_reaches_every_pixel_and_convolutions_do_not():
    v, moved = uniform(1, 1, 64, 64), uniform(1, 1, 64, 64, seed=1)
    moved[..., :-1, :] = v[..., :-1, :]
    for attention in (False, True):
        network = shaken(UNet(1, 2, 2, attention=attention), 0.3)
        far = (network(v, 0.1) - network(moved, 0.1))[..., :4, :].abs().max()
        assert (far > 0) == attention


@pytest.mark.parametrize("attention", [False, True])
def test_its_derivatives_are_those_of_its_values(attention: bool):
    torch.manual_seed(0)
    network = shaken(UNet(1, 2, 2, scaled=True, attention=attention), 0.3)
    v = uniform(1, 1, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: network(x, 0.3), v)
    network(v, 0.3).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_scales_without_meaning_are_refused():
    with pytest.raises(ConfigError, match=r"UNet\.levels = 1: must be at least 2"):
        UNet(1, levels=1)
    with pytest.raises(ConfigError, match=r"UNet\.levels = 1000000000: must be at most 8"):
        UNet(1, levels=10**9)
    with pytest.raises(ConfigError, match=r"UNet\.width = 1024: with levels = 8"):
        UNet(1, levels=8, width=1024)


@torch.no_grad()
@pytest.mark.parametrize(("levels", "shape"), [(2, (150, 70)), (3, (131, 200)), (4, (200, 65))])
def test_tiles_give_the_image_of_the_whole(levels, shape):
    torch.manual_seed(0)
    network = UNet(1, levels, 4).double()
    torch.nn.init.normal_(network.tail.weight)
    v = torch.rand(2, 1, *shape, dtype=torch.float64)
    sigma = torch.tensor([0.05, 0.2], dtype=torch.float64).reshape(2, 1, 1, 1)
    whole = network(v, sigma)
    assert torch.allclose(Tiled(network, 64)(v, sigma), whole, rtol=0, atol=1e-12)
    # no pixel depends on others further away than it says
    far = v.clone()
    far[..., 0, 0] += 10
    moved = ((network(far, sigma) - whole).abs() > 1e-9).nonzero()[:, 2:].amax()
    assert 1 <= moved <= network.reach
    assert UNet(1, levels, 4, attention=True).reach is None
