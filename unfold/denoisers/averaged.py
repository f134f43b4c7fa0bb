"""An averaged network: spectral normalisation of periodic convolutions, by power iteration."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from unfold.denoisers.denoiser import Denoiser
from unfold.denoisers.nonexpansive import periodic
from unfold.errors import ConfigError
from unfold.parameters.declare import expect_sizes
from unfold.parameters.networks import Network
from unfold.typing import Image, Scalar

SIDE = 64
"""Of the periodic images on which norms are taken."""


class AveragedDnCNN(Denoiser):
    """D(v) = (1 − θ)v + θN(v), N a chain of periodic 3×3 convolutions of norm at most 1 with ReLU.

    N is nonexpansive, so that D is θ-averaged: D^k(v) converges where D has a fixed point; θ = ½
    makes D firmly nonexpansive. The norm of each convolution is found by power iteration, exactly
    where it has converged; its vector is a buffer that every reconstruction in training moves
    on by one iteration, and that a resumed training finds again.

    Args:
        channels: C of the images.
        depth: convolutions.
        width: features.
        theta: θ, in (0, 1).

    Source: Ryu et al., Plug-and-play methods provably converge with properly trained denoisers,
    ICML 2019, section 4 (real spectral normalisation); Bauschke and Combettes, Convex analysis and
    monotone operator theory in Hilbert spaces, 2nd edition (2017), definition 4.33.
    """

    def __init__(
        self, channels: int = 3, depth: int = 7, width: int = 32, theta: float = 0.5
    ) -> None:
        expect_sizes("AveragedDnCNN", channels, depth, width)
        if not 0 < theta < 1:
            raise ConfigError(f"AveragedDnCNN.theta = {theta}: must be in (0, 1).")
        super().__init__()
        self.channels, self.theta = channels, theta
        sizes = [channels, *[width] * (depth - 1), channels]
        layers = [nn.Conv2d(a, b, 3) for a, b in pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        for i, layer in enumerate(layers):
            nn.init.normal_(layer.weight, std=0.02 / math.sqrt(9 * layer.in_channels))
            with torch.no_grad():  # N starts near the identity of images in [0, 1]
                layer.weight += nn.init.dirac_(torch.empty_like(layer.weight))
                layer.bias.zero_()  # type: ignore[union-attr]
            v = torch.randn(1, layer.in_channels, SIDE, SIDE)
            self.register_buffer(f"v{i}", power_step(layer.weight.detach(), v, 30))

    def derived(self) -> list[Tensor]:
        """The weights over their norms; between the frequencies of the grid those grow by cos⁻²."""
        pairs = [(x.get_parameter("weight"), self.get_buffer(f"v{i}")) for i, x in self._numbered()]
        norms = (periodic(v.clone(), W).norm() / math.cos(math.pi / SIDE) ** 2 for W, v in pairs)
        return [W / norm.clamp(min=1) for (W, _), norm in zip(pairs, norms, strict=True)]

    @torch.no_grad()
    def iterate(self) -> None:
        """One step of the power iteration of every convolution."""
        for i, layer in self._numbered():
            v = self.get_buffer(f"v{i}")
            v.copy_(power_step(layer.get_parameter("weight"), v))

    def prepared(self) -> Network:
        if self.training and torch.is_grad_enabled():
            self.iterate()
        return super().prepared()

    def _numbered(self) -> list[tuple[int, nn.Module]]:
        return list(enumerate(self.layers))

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        x = v
        for (i, layer), W in zip(self._numbered(), self.once(), strict=True):
            bias = layer.get_parameter("bias").reshape(-1, 1, 1)
            x = periodic(relu(x) if i else x, W) + bias
        return torch.lerp(v, x, self.theta)


def power_step(W: Tensor, v: Tensor, steps: int = 1) -> Tensor:
    """v towards the unit image that a periodic 3×3 convolution enlarges most."""
    for _ in range(steps):
        v = periodic(periodic(v, W), W.flip(2, 3).transpose(0, 1))
        v = v / v.norm().clamp(min=torch.finfo(v.dtype).tiny)
    return v
