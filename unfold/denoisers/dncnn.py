"""DnCNN, chains of convolutions that predict the noise; one of them smooth."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from unfold.denoisers.denoiser import Denoiser, with_level
from unfold.errors import ConfigError
from unfold.parameters.declare import expect_sizes
from unfold.typing import Image, Scalar

RELU = partial(nn.ReLU, inplace=True)
KAIMING = partial(nn.init.kaiming_normal_, nonlinearity="relu")


def chain(
    inputs: int,
    outputs: int,
    depth: int,
    width: int,
    activation: Callable[[], nn.Module] = RELU,
    start: Callable[[Tensor], object] = KAIMING,
    bias: bool = True,
    batch_norm: bool = False,
) -> nn.Sequential:
    """`depth` 3×3 convolutions with an activation between them; `start` samples their weights.

    With `batch_norm`, every convolution but the first and the last is followed by one.
    """
    widths = [inputs, *[width] * (depth - 1), outputs]
    layers: list[nn.Module] = []
    for position, (a, b) in enumerate(pairwise(widths)):
        convolution = nn.Conv2d(a, b, 3, padding=1, bias=bias)
        start(convolution.weight)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        inner = batch_norm and 0 < position < depth - 1
        layers += [convolution, *([nn.BatchNorm2d(b)] if inner else []), activation()]
    return nn.Sequential(*layers[:-1])


def start_small(network: nn.Sequential, width: int) -> nn.Sequential:
    """The last convolution near zero; not at zero, where no other would get a first gradient."""
    nn.init.normal_(last(network).weight, std=1e-3 / math.sqrt(9 * width))
    return network


def last(network: nn.Sequential) -> nn.Conv2d:
    """The last convolution."""
    layer = network[-1]
    assert isinstance(layer, nn.Conv2d)
    return layer


class DnCNN(Denoiser):
    """D(v) = v − R(v), R a plain chain of 3×3 convolutions; the level σ is not used.

    Batch normalisation is off by default: its statistics would change between the iterations of
    one reconstruction. R starts near zero, so that D starts near the identity.

    Args:
        channels: C of the images, 1 for gray and 3 for colour.
        depth: convolutions; 17 in the paper, 7 here by default.
        width: features; 64 in the paper, 32 here by default.
        bias: whether convolutions have biases; without, D(sv) = sD(v) for s ≥ 0.
        batch_norm: normalise between convolutions, as the paper does.

    Source: Zhang et al., Beyond a Gaussian denoiser, TIP 26 (2017), section III; without biases,
    Mohan et al., Robust and interpretable blind image denoising via bias-free convolutional neural
    networks, ICLR 2020, section 4.

    Raises:
        ConfigError: batch normalisation without biases; it adds biases itself.
    """

    def __init__(
        self,
        channels: int = 3,
        depth: int = 7,
        width: int = 32,
        bias: bool = True,
        batch_norm: bool = False,
    ) -> None:
        expect_sizes("DnCNN", channels, depth, width)
        if batch_norm and not bias:
            raise ConfigError(
                "DnCNN.bias = False: batch_norm = True adds biases. Set one of both to its default."
            )
        super().__init__()
        self.channels, self.depth, self.width = channels, depth, width
        layers = chain(channels, channels, depth, width, bias=bias, batch_norm=batch_norm)
        self.noise = start_small(layers, width)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        predicted: Tensor = self.noise(v)
        return v - predicted


class _Conditional(Denoiser):
    """D(v, σ) = v − R(v, σ1): the level enters as one more channel.

    Args:
        channels: C of the images.
        depth: convolutions.
        width: features.
    """

    uses_sigma = True
    noise: nn.Sequential

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        predicted: Tensor = self.noise(with_level(v, sigma))
        return v - predicted


class ConditionalDnCNN(_Conditional):
    """D(v, σ) = v − R(v, σ1), R a plain chain of 3×3 convolutions.

    Source: Zhang et al., FFDNet, TIP 27 (2018), section III-B (the noise level map).
    """

    def __init__(self, channels: int = 3, depth: int = 7, width: int = 32) -> None:
        expect_sizes("ConditionalDnCNN", channels, depth, width)
        super().__init__()
        self.channels, self.depth, self.width = channels, depth, width
        self.noise = start_small(chain(channels + 1, channels, depth, width), width)


SHARPNESS = 20.0
"""β of the softplus log(1 + e^{βx})/β: within 0.035 of max(x, 0), and infinitely differentiable."""


class SmoothDnCNN(_Conditional):
    """N(v, σ) = v − R(v, σ1), R a chain of 3×3 convolutions with softplus between them.

    R is infinitely differentiable, as a potential made of it needs. It starts at a tenth of the
    usual size: small enough that N is near the identity, and large enough that the gradient of
    ‖R‖², which is quadratic in the last layer, does not vanish.

    Source: Hurault, Leclaire and Papadakis, Gradient step denoiser for convergent plug-and-play,
    ICLR 2022, section 3 (a differentiable activation, no residual on the potential); the chain in
    place of their U-Net is ours, for its size.
    """

    def __init__(self, channels: int = 3, depth: int = 5, width: int = 32) -> None:
        expect_sizes("SmoothDnCNN", channels, depth, width)
        super().__init__()
        self.channels = channels
        smooth = partial(nn.Softplus, beta=SHARPNESS)
        self.noise = chain(channels + 1, channels, depth, width, smooth)
        with torch.no_grad():
            last(self.noise).weight *= 0.1
