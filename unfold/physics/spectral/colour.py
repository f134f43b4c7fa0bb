"""Colour images through one channel: weighted sums, and mosaics of a colour filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import Bound, bounded, check_value, finite, one_of
from unfold.physics.base import Physics
from unfold.physics.closed_forms import DiagonalGram, OrthonormalRows
from unfold.physics.operator import EACH
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class WeightedChannels(DiagonalGram):
    """(Ax)(u) = Σ_c w_c x(u, c), so that AA* = |w|² I.

    Args:
        weights: w, real, (B or 1, C, 1, 1), not all 0.
        image_shape: of one image, (C, H, W); one measurement is (1, H, W).
    """

    weights: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        self.expect_field("weights", "real", EACH, self.image_shape[0], 1, 1)

    @property
    def measurement_shape(self) -> Shape:
        return 1, *self.image_shape[1:]

    @property
    def power(self) -> Tensor:
        """|w|², (B or 1, 1, 1, 1)."""
        return self.weights.square().sum(1, keepdim=True)

    def forward(self, x: Image) -> Measurement:
        return (self.weights * x).sum(1, keepdim=True)

    def adjoint(self, y: Measurement) -> Image:
        return self.weights * y


@dataclass(frozen=True)
class Colorization(Physics):
    """y = 0.299 R + 0.587 G + 0.114 B with noise, or other weights.

    Args:
        weights: of the channels, as many as the images have; finite, not all 0.

    Source: Recommendation ITU-R BT.601-7 (2011), section 2.5.1, for the weights.
    """

    weights: Sequence[float] = bounded(LUMA, finite, "one for each channel")

    is_deterministic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_weights("Colorization.weights", self.weights)

    def image_shape(self, measurement_shape: Shape) -> Shape:
        return len(self.weights), *measurement_shape[1:]

    def sample(self, draws: Draws, shape: Shape) -> WeightedChannels:
        if shape[0] != len(self.weights):
            raise ShapeError(
                f"Colorization: images of {shape[0]} channels and {len(self.weights)} weights; "
                "give one weight for each channel."
            )
        weights = torch.tensor(self.weights, dtype=draws.dtype).to(draws.device)
        return WeightedChannels(weights.reshape(1, -1, 1, 1), shape)


def expect_weights(option: str, weights: Sequence[float]) -> None:
    """Raise a `ConfigError` where all weights are 0."""
    if not any(weights):
        raise ConfigError(f"{option} = {list(weights)}: must be finite and not all 0.")


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
        pattern: one of RGGB, BGGR, GRBG, GBRG.
    """

    pattern: str = bounded("RGGB", one_of(*PATTERNS))

    is_deterministic = True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        return 3, *measurement_shape[1:]

    def sample(self, draws: Draws, shape: Shape) -> Mosaic:
        return Mosaic(self.pattern, shape)
