"""Demosaicing: one channel at each pixel, as the sensor of a camera measures it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.parameters.bounds import Bound, bounded, check_value, one_of
from unfold.physics.base import Physics
from unfold.physics.closed_forms import OrthonormalRows
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape

PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")


@dataclass(frozen=True, eq=False)
class Mosaic(OrthonormalRows):
    """(Ax)(u) = x(u, c(u)), c(u) the channel of the colour filter over pixel u.

    Args:
        pattern: of a block of 2 x 2 pixels, row by row, in letters of RGB.
        image_shape: of one image, (3, H, W); one measurement is (1, H, W).

    Source: Bayer, Color imaging array, US patent 3971065 (1976).
    """

    pattern: str
    image_shape: Shape

    def __post_init__(self) -> None:
        check_value("Mosaic.pattern", self.pattern, Bound(one_of(*PATTERNS), "", False))
        if self.image_shape[0] != 3:
            raise ShapeError(
                f"Mosaic: an image of {self.image_shape[0]} channels has no colours; three "
                "channels are needed."
            )

    @property
    def measurement_shape(self) -> Shape:
        return 1, *self.image_shape[1:]

    @cached_property
    def channel(self) -> Tensor:
        """C(u), (1, 1, H, W), on the CPU."""
        _, height, width = self.image_shape
        block = torch.tensor(["RGB".index(letter) for letter in self.pattern]).reshape(2, 2)
        tiles = block.repeat((height + 1) // 2, (width + 1) // 2)
        return tiles[:height, :width][None, None]

    def forward(self, x: Image) -> Measurement:
        return x.gather(1, self.channel.to(x.device).expand(len(x), -1, -1, -1))

    def adjoint(self, y: Measurement) -> Image:
        empty = y.new_zeros(len(y), *self.image_shape)
        return empty.scatter(1, self.channel.to(y.device).expand(len(y), -1, -1, -1), y)


@dataclass(frozen=True)
class Demosaicing(Physics):
    """y(u) = x(u, c(u)) with noise: colour images through Bayer's filter.

    Args:
        noise: added to the mosaic.
        pattern: one of RGGB, BGGR, GRBG, GBRG.
    """

    pattern: str = bounded("RGGB", one_of(*PATTERNS))

    is_deterministic = True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(3, H, W)."""
        return 3, *measurement_shape[1:]

    def sample(self, draws: Draws, shape: Shape) -> Mosaic:
        """The same for every image."""
        return Mosaic(self.pattern, shape)
