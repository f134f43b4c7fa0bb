"""DRUNet, in the published layout."""

import torch
from torch import Tensor, nn

from unfold.denoisers.denoiser import Denoiser, at_multiple, with_level
from unfold.parameters.declare import expect_sizes
from unfold.typing import Image, Scalar


class DRUNet(Denoiser):
    """D(v, σ) = U(v, σ1), U a residual U-Net of four scales without biases.

    Blocks x + conv(relu(conv(x))); strided 2×2 convolutions down, transposed ones up; sums as skip
    connections. The names of its weights are the published ones, so that those need no mapping. D
    is no correction of v: untrained it is not near the identity.

    Args:
        channels: C of the images.
        blocks: residual blocks per scale; 4 in the paper, which has 32.6 million weights.
        width: features at full resolution, doubled at each coarser scale; 64 in the paper.

    Source: Zhang et al., Plug-and-play image restoration with deep denoiser prior, TPAMI 44 (2022),
    section 3.1; extended to multiples of 8 by the last row and column, as theirs.
    """

    uses_sigma = True

    def __init__(self, channels: int = 3, blocks: int = 4, width: int = 64) -> None:
        expect_sizes("DRUNet", channels, blocks, width, layers="blocks", most=32, growth=8)
        super().__init__()
        self.channels = channels
        w = [width * 2**level for level in range(4)]
        self.m_head = nn.Conv2d(channels + 1, w[0], 3, padding=1, bias=False)
        self.m_down1, self.m_down2, self.m_down3 = (
            nn.Sequential(*_blocks(blocks, a), nn.Conv2d(a, 2 * a, 2, stride=2, bias=False))
            for a in w[:3]
        )
        self.m_body = nn.Sequential(*_blocks(blocks, w[3]))
        self.m_up3, self.m_up2, self.m_up1 = (
            nn.Sequential(
                nn.ConvTranspose2d(2 * a, a, 2, stride=2, bias=False), *_blocks(blocks, a)
            )
            for a in reversed(w[:3])
        )
        self.m_tail = nn.Conv2d(w[0], channels, 3, padding=1, bias=False)
        for p in self.parameters():
            nn.init.orthogonal_(p, gain=0.2)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        return at_multiple(8, self.image, with_level(v, sigma))

    def image(self, x: Tensor) -> Tensor:
        """U of an image, with its noise level as the last channel, whose sides divide by 8."""
        x1 = self.m_head(x)
        x2 = self.m_down1(x1)
        x3 = self.m_down2(x2)
        x4 = self.m_down3(x3)
        x = self.m_up3(self.m_body(x4) + x4)
        x = self.m_up1(self.m_up2(x + x3) + x2)
        denoised: Tensor = self.m_tail(x + x1)
        return denoised


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), 3×3 and without biases.

    Args:
        width: features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.res = nn.Sequential(first, nn.ReLU(inplace=True), second)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.res(x))


def _blocks(count: int, width: int) -> list[ResidualBlock]:
    return [ResidualBlock(width) for _ in range(count)]
