"""U-Net: convolutions at several scales, joined by skip connections."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu, scaled_dot_product_attention

from unfold.denoisers.denoiser import Denoiser, at_multiple, with_level
from unfold.denoisers.dncnn import chain
from unfold.parameters.declare import expect_sizes
from unfold.typing import Image, Scalar


class UNet(Denoiser):
    """D(v, σ) = v − R(v, σ1), or v − σ R(v, σ1), R a U-Net of two 3×3 convolutions per scale.

    Every scale has half the resolution and twice the features of the one before: the mean of 2×2
    pixels down, a transposed 2×2 convolution up, skip connections joined as channels. Without
    normalisation, whose statistics would change between iterations. R starts near zero. Images of
    any size are extended by their last row and column to a multiple of the coarsest pixel.

    Args:
        channels: C of the images.
        levels: scales, from 2 to 8.
        width: features at full resolution; doubled at each coarser scale.
        scaled: multiply R by σ, so that the correction vanishes with the noise.
        attention: attend from every position of the coarsest scale to all others.

    Source: Ronneberger, Fischer and Brox, U-Net, MICCAI 2015, figure 1; the residual, the noise
    level as a channel, zero padding and the mean in place of the maximum are ours.
    """

    uses_sigma = True

    def __init__(
        self,
        channels: int = 3,
        levels: int = 3,
        width: int = 32,
        scaled: bool = False,
        attention: bool = False,
    ) -> None:
        growth = 2 ** min(max(levels, 1) - 1, 7)
        expect_sizes("UNet", channels, levels, width, layers="levels", most=8, growth=growth)
        super().__init__()
        self.channels, self.levels, self.scaled = channels, levels, scaled
        widths = [width * 2**level for level in range(levels)]
        inputs = [channels + 1, *widths]
        self.encoder = nn.ModuleList(
            chain(a, b, 2, b) for a, b in zip(inputs, widths, strict=False)
        )
        self.attention = Attention(widths[-1]) if attention else nn.Identity()
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.decoder = nn.ModuleList(chain(2 * w, w, 2, w) for w in widths[:-1])
        self.tail = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.normal_(self.tail.weight, std=1e-3 / (9 * width) ** 0.5)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def reach(self) -> int | None:
        """Two convolutions at each scale on the way down and up, the last one, and the pooling."""
        coarsest = 2 ** (self.levels - 1)
        convolutions = 2 * (2 * coarsest - 1) + 2 * (coarsest - 1) + 1
        whole = isinstance(self.attention, Attention)
        return None if whole else convolutions + 2 * coarsest

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        R = at_multiple(2 ** (self.levels - 1), self.correction, with_level(v, sigma))
        return v - sigma * R if self.scaled else v - R

    def correction(self, x: Tensor) -> Tensor:
        """R of an image, with its noise level as the last channel, whose sides divide evenly."""
        skips: list[Tensor] = []
        for level, encode in enumerate(self.encoder):
            x = relu(encode(x if level == 0 else avg_pool2d(x, 2)))
            skips.append(x)
        x = self.attention(skips.pop())
        for up, decode in zip(reversed(self.up), reversed(self.decoder), strict=True):
            x = relu(decode(torch.cat((up(x), skips.pop()), 1)))
        R: Tensor = self.tail(x)
        return R


class Attention(nn.Module):
    """x + P softmax(QᵀK / √C) V over all positions; Q, K, V and P are 1×1 convolutions.

    Args:
        width: features C.

    Source: Vaswani et al., Attention is all you need, NeurIPS 2017, equation 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        Q, K, V = (part.flatten(2).transpose(1, 2) for part in self.qkv(x).chunk(3, 1))
        mixed = scaled_dot_product_attention(Q, K, V).transpose(1, 2).reshape(x.shape)
        found: Tensor = x + self.out(mixed)
        return found
