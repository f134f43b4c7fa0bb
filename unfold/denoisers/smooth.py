"""A smooth chain of convolutions."""

import torch
from torch import Tensor, nn

from unfold.denoisers.denoiser import Denoiser, check_size
from unfold.typing import Image, Scalar

SHARPNESS = 20.0
"""β of the softplus log(1 + e^{βx})/β: within 0.035 of max(x, 0), and infinitely differentiable."""


class SmoothDnCNN(Denoiser):
    """N(v, σ) = v − R(v, σ1), R a chain of 3×3 convolutions with softplus between them.

    R is infinitely differentiable, as a potential made of it needs. It starts at a tenth of the
    usual size: small enough that N is near the identity, and large enough that the gradient of
    ‖R‖², which is quadratic in the last layer, does not vanish.

    Args:
        channels: C of the images.
        depth: convolutions.
        width: features.

    Source: Hurault, Leclaire and Papadakis, Gradient step denoiser for convergent plug-and-play,
    ICLR 2022, section 3 (a differentiable activation, no residual on the potential); the chain in
    place of their U-Net is ours, for its size.
    """

    uses_sigma = True

    def __init__(self, channels: int = 3, depth: int = 5, width: int = 32) -> None:
        check_size("SmoothDnCNN", channels, depth, width)
        super().__init__()
        self.channels = channels
        widths = [channels + 1, *[width] * (depth - 1), channels]
        layers: list[nn.Module] = []
        for i in range(depth):
            layer = nn.Conv2d(widths[i], widths[i + 1], 3, padding=1)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.Softplus(beta=SHARPNESS)]
        last = layers[-2]
        assert isinstance(last, nn.Conv2d)
        with torch.no_grad():
            last.weight *= 0.1
        self.noise = nn.Sequential(*layers[:-1])

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        level = torch.ones_like(v[:, :1]) * sigma
        predicted: Tensor = self.noise(torch.cat((v, level), dim=1))
        return v - predicted
