"""The U-Net of fastMRI, with its normalisations."""

from collections import OrderedDict
from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from unfold.denoisers.denoiser import Denoiser
from unfold.parameters.declare import expect_sizes
from unfold.typing import Image, Scalar

LEAST = 16  # pixels: an image is extended by zeros to multiples of them, or of the coarsest pixel


class FastMRIUNet(Denoiser):
    """D(v) = m + s U((v − m)/s), m and s the mean and the standard deviation of each channel.

    U has two 3×3 convolutions at each scale, without bias, each before an instance normalisation
    and a leaky ReLU; means of 2×2 pixels down, transposed 2×2 convolutions up; names and shapes are
    those of fastMRI. The level σ is not used. Complex images have 2 channels, their two parts.

    Args:
        channels: C of the images.
        levels: scales, from 2 to 8: one more than the layers of pooling.
        width: features at full resolution; doubled at each coarser scale.

    Source: Zbontar et al., fastMRI: an open dataset and benchmarks for accelerated MRI,
    arXiv:1811.08839, its U-Net baseline; the normalisation of v, and the zeros around it, as in
    Sriram et al., End-to-end variational networks, MICCAI 2020. The first paper has no such zeros,
    which is the same for sides that are multiples of 16.
    """

    def __init__(self, channels: int = 2, levels: int = 5, width: int = 18) -> None:
        growth = 2 ** min(max(levels, 1) - 1, 7)
        expect_sizes("FastMRIUNet", channels, levels, width, "levels", 8, growth)
        super().__init__()
        self.channels, self.multiple = channels, max(LEAST, growth)
        widths = [width * 2**level for level in range(levels)]
        down = [_block(a, b) for a, b in pairwise([channels, *widths])]
        self.down_sample_layers, self.conv = nn.ModuleList(down[:-1]), down[-1]
        rising = widths[-2::-1]
        self.up_transpose_conv = nn.ModuleList(
            _layers(nn.ConvTranspose2d(2 * w, w, 2, stride=2, bias=False)) for w in rising
        )
        *up, last = (_block(2 * w, w) for w in rising)
        self.up_conv = nn.ModuleList([*up, nn.Sequential(last, nn.Conv2d(width, channels, 1))])

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        several = int(v.shape[-2:].numel() > 1)
        variance, m = torch.var_mean(v, (-2, -1), correction=several, keepdim=True)
        s = variance.clamp(min=torch.finfo(v.dtype).eps ** 2).sqrt()
        height, width = v.shape[-2:]
        more = -height % self.multiple, -width % self.multiple
        top, left = (one // 2 for one in more)
        found = self.unet(pad((v - m) / s, (left, more[1] - left, top, more[0] - top)))
        return m + s * found[..., top : top + height, left : left + width]

    def unet(self, x: Tensor) -> Tensor:
        """U."""
        skips: list[Tensor] = []
        for down in self.down_sample_layers:
            skips.append(down(x))
            x = avg_pool2d(skips[-1], 2)
        x = self.conv(x)
        for transposed, up in zip(self.up_transpose_conv, self.up_conv, strict=True):
            x = up(torch.cat((transposed(x), skips.pop()), 1))
        return x


def _layers(*convolutions: nn.Module) -> nn.Sequential:
    """Each followed by an instance normalisation and a leaky ReLU, under the published names."""
    groups = ((c, InstanceNorm(), nn.LeakyReLU(0.2), nn.Identity()) for c in convolutions)
    return nn.Sequential(OrderedDict(layers=nn.Sequential(*chain.from_iterable(groups))))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    sizes = (inputs, outputs, outputs)
    return _layers(*(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(sizes)))


class InstanceNorm(nn.Module):
    """(x − m)/√(s² + ε) of every channel of an image; 0 of one pixel, which nn refuses."""

    def forward(self, x: Tensor) -> Tensor:
        fast = torch.backends.cudnn.enabled
        return torch.instance_norm(x, None, None, None, None, True, 0.0, 1e-5, fast)
