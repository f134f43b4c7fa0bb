"""FFDNet, in the published layout."""

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from unfold.denoisers.denoiser import Denoiser, at_multiple
from unfold.denoisers.dncnn import chain
from unfold.parameters.declare import expect_sizes
from unfold.typing import Image, Scalar


class FFDNet(Denoiser):
    """D(v, σ) = shuffle(N(unshuffle(v), σ1)), N a chain of 3×3 convolutions at half resolution.

    The four pixels of a 2×2 block are channels of N, and the noise level is one more. The names of
    its weights are the published ones. D is no correction of v: untrained it is not near the
    identity.

    Args:
        channels: C of the images.
        depth: convolutions; 15 in the paper for gray images, 12 for colour.
        width: features; 64 in the paper for gray images, 96 for colour.

    Source: Zhang, Zuo and Zhang, FFDNet: Toward a fast and flexible solution for CNN-based image
    denoising, TIP 27 (2018), section III-A; batch normalisation merged, as in the released weights.
    """

    uses_sigma = True

    def __init__(self, channels: int = 3, depth: int = 12, width: int = 96) -> None:
        expect_sizes("FFDNet", channels, depth, width)
        super().__init__()
        self.channels = channels
        self.model = chain(4 * channels + 1, 4 * channels, depth, width)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)

        def N(x: Tensor) -> Tensor:
            blocks = pixel_unshuffle(x, 2)
            level = torch.ones_like(blocks[:, :1]) * sigma
            return pixel_shuffle(self.model(torch.cat((blocks, level), 1)), 2)

        return at_multiple(2, N, v)
