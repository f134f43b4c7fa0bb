"""Networks on large images, one tile after the other."""

from torch import Tensor

from unfold.denoisers.denoiser import Denoiser
from unfold.typing import Image, Scalar

ALIGNED = 64
"""What tiles and their margins are multiples of, in pixels: the coarsest pixels of a network."""


class Tiled(Denoiser):
    """The same network on overlapping tiles, in the memory of one.

    A tile is computed with a margin of what its pixels depend on, so that the image is that of the
    network at once. A network of which that is not known, or that has no such limit, is called on
    the whole image. It refers to the network without owning its parameters.

    Args:
        network: the denoiser.
        side: of a tile without its margin, a multiple of 64 pixels.
    """

    def __init__(self, network: Denoiser, side: int = 512) -> None:
        super().__init__()
        self.channels, self.side = network.channels, side
        self.call = (network,)

    @property
    def penalizes(self) -> bool:
        return self.call[0].penalizes

    def penalty(self, v: Image) -> Tensor:
        return self.call[0].penalty(v)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        network, (height, width) = self.call[0], v.shape[-2:]
        if network.reach is None or max(height, width) <= self.side:
            whole: Image = network(v, sigma)
            return whole
        margin, denoised = -(-network.reach // ALIGNED) * ALIGNED, v.new_empty(v.shape)
        for top in range(0, height, self.side):
            for left in range(0, width, self.side):
                above, before = max(0, top - margin), max(0, left - margin)
                below, after = top + self.side, left + self.side
                tile = network(v[..., above : below + margin, before : after + margin], sigma)
                inner = tile[..., top - above : below - above, left - before : after - before]
                denoised[..., top:below, left:after] = inner
        return denoised
