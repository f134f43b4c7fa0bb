"""DnCNN, a plain chain of convolutions that predicts the noise."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from unfold.denoisers.denoiser import Denoiser, check_size
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ConfigError
from unfold.typing import Image, Scalar


def chain(inputs: int, outputs: int, depth: int, width: int) -> nn.Sequential:
    """`depth` 3×3 convolutions with ReLU between them; the last starts near zero."""
    widths = [inputs, *[width] * (depth - 1), outputs]
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        convolution = nn.Conv2d(a, b, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        layers += [convolution, nn.ReLU(inplace=True)]
    last = layers[-2]
    assert isinstance(last, nn.Conv2d)
    # Not at zero: every layer before it would get no gradient from the first batch.
    nn.init.normal_(last.weight, std=1e-3 / math.sqrt(9 * width))
    return nn.Sequential(*layers[:-1])


class DnCNN(Denoiser):
    """D(v) = v − R(v), R a plain chain of 3×3 convolutions; the level σ is not used.

    Without batch normalisation, whose statistics would change between the iterations of one
    reconstruction; R starts near zero, so that D starts near the identity.

    Args:
        channels: C of the images, 1 for gray and 3 for colour.
        depth: convolutions; 17 in the paper, 7 here by default.
        width: features; 64 in the paper, 32 here by default.

    Source: Zhang et al., Beyond a Gaussian denoiser, TIP 26 (2017), section III.
    """

    def __init__(self, channels: int = 3, depth: int = 7, width: int = 32) -> None:
        check_size("DnCNN", channels, depth, width)
        super().__init__()
        self.channels, self.depth, self.width = channels, depth, width
        self.noise = chain(channels, channels, depth, width)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        """Remove the predicted noise; `sigma` is not used."""
        self.expect(v)
        predicted: Tensor = self.noise(v)
        return v - predicted

    def firmly_nonexpansive(self) -> Denoiser:
        """½(I + cN) of as many convolutions and features, with N 1-Lipschitz."""
        return NonexpansiveResNet(self.channels, self.depth, self.width)


class ConditionalDnCNN(Denoiser):
    """D(v, σ) = v − R(v, σ1): the level enters as one more channel.

    Args:
        channels: C of the images.
        depth: convolutions.
        width: features.

    Source: Zhang et al., FFDNet, TIP 27 (2018), section III-B (the noise level map).
    """

    uses_sigma = True

    def __init__(self, channels: int = 3, depth: int = 7, width: int = 32) -> None:
        check_size("ConditionalDnCNN", channels, depth, width)
        super().__init__()
        self.channels, self.depth, self.width = channels, depth, width
        self.noise = chain(channels + 1, channels, depth, width)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        level = torch.ones_like(v[:, :1]) * sigma
        predicted: Tensor = self.noise(torch.cat((v, level), dim=1))
        return v - predicted

    def firmly_nonexpansive(self) -> Denoiser:
        """Refused: the nonexpansive form takes no level."""
        raise ConfigError(
            "ConditionalDnCNN has no firmly nonexpansive form, which an equilibrium needs; "
            "use DnCNN in an equilibrium."
        )
