"""Inpainting: some pixels are missing."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import bounded, inside, one_of, whole
from unfold.physics.base import Physics
from unfold.physics.closed_forms import DiagonalNormal, divide
from unfold.physics.levels import Level, level_column, sample_level
from unfold.physics.operator import EACH, Operator
from unfold.pytree import Derived
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Mask(DiagonalNormal):
    """Ax = m · x, pixel by pixel.

    Args:
        mask: m, real, (B or 1, C, H, W); 1 where a pixel is known, 0 where it is missing.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        axes = EACH, "channel", "height", "width"
        self.expect_field("mask", "real", *axes, hint="; expand it over shared channels")

    @cached_property
    def image_shape(self) -> Shape:
        return tuple(self.mask.shape[1:])

    @Derived
    def power(self) -> Tensor:
        return self.mask**2

    @property
    def abs_operator(self) -> Operator:
        return replace(self, mask=self.mask.abs())

    def forward(self, x: Image) -> Measurement:
        return self.mask * x

    def adjoint(self, y: Measurement) -> Image:
        return self.mask * y

    def pseudo_inverse(self, y: Measurement) -> Image:
        """y / m where m is not 0, and 0 elsewhere."""
        return divide(y, self.mask)


@dataclass(frozen=True)
class MaskPhysics(Physics, ABC):
    """y = m · x with noise, m of zeros and ones shared by the channels.

    Args:
        noise: added to the known pixels, and to the zeros of the missing ones.
    """

    photographic = True

    def sample(self, draws: Draws, shape: Shape) -> Mask:
        """(B, C, H, W), all but the known sides being views of one."""
        draws = draws.take([0]) if self.is_deterministic else draws
        return Mask(self.known(draws, shape).to(draws.dtype).expand(-1, *shape))

    @abstractmethod
    def known(self, draws: Draws, shape: Shape) -> Tensor:
        """(B, 1, H or 1, W or 1): which pixels are known."""


@dataclass(frozen=True)
class Inpainting(MaskPhysics):
    """m(u) ~ Bernoulli(keep), independently for every pixel u and image, shared by the channels.

    Args:
        keep: probability that a pixel is known, in (0, 1]; a number, or a range to sample from per
            image. At least one pixel is always known.
    """

    keep: Level = bounded(0.5, inside("(0, 1]"), "the fraction of known pixels", level=True)

    @property
    def is_deterministic(self) -> bool:
        return self.keep == 1

    def known(self, draws: Draws, shape: Shape) -> Tensor:
        return sample_mask(draws, "pixels", (1, *shape[1:]), self.keep)


def sample_mask(draws: Draws, name: str, shape: Shape, keep: Level) -> Tensor:
    """(B, …): independently true with probability `keep`, and at least once in every sample."""
    chance = draws.uniform(name, shape)
    least = chance.amin((1, 2, 3), keepdim=True)
    return chance <= torch.clamp(least, min=level_column(keep, draws, "keep"))


@dataclass(frozen=True)
class BoxInpainting(MaskPhysics):
    """m = 0 in one box at a random place inside the image, 1 elsewhere, shared by the channels.

    Args:
        side: height and width of the box over those of the image, in (0, 1); a number, or a range
            to sample from per image. At least one pixel is missing, and one row or column is known.
    """

    side: Level = bounded(
        0.4, inside("(0, 1)"), "the side of the box over that of the image", level=True
    )

    def known(self, draws: Draws, shape: Shape) -> Tensor:
        if shape[1:] == (1, 1):
            raise ShapeError("BoxInpainting: an image of 1 x 1 pixel has nothing outside a box.")
        side, chance = sample_level(self.side, draws, "side"), draws.uniform("place", (2,))
        down, across = (
            _inside(side, chance[:, axis], length) for axis, length in enumerate(shape[1:])
        )
        return ~(down[:, :, None] & across[:, None])[:, None]


def _inside(side: float | Tensor, chance: Tensor, length: int) -> Tensor:
    """(B, length): which places of an axis are in the box; every first place is as likely."""
    share = torch.as_tensor(side, dtype=chance.dtype).to(chance.device)
    size = (share * length).round().clamp(1, max(1, length - 1))
    first = (chance * (length - size + 1)).floor()
    place = torch.arange(length, device=chance.device)
    after = place >= first[:, None]
    return after & (place < (first + size)[:, None])


@dataclass(frozen=True)
class LineInpainting(MaskPhysics):
    """m of rows, or of columns: each is known with probability `keep`, in all channels.

    Args:
        keep: probability that a line is known, in (0, 1]; a number, or a range to sample from per
            image. At least one line is always known.
        lines: `rows` or `columns`.
    """

    keep: Level = bounded(0.5, inside("(0, 1]"), "the fraction of known lines", level=True)
    lines: Literal["rows", "columns"] = bounded("rows", one_of("rows", "columns"))

    @property
    def is_deterministic(self) -> bool:
        return self.keep == 1

    def known(self, draws: Draws, shape: Shape) -> Tensor:
        _, height, width = shape
        each = (1, height, 1) if self.lines == "rows" else (1, 1, width)
        return sample_mask(draws, "pixels", each, self.keep)


@dataclass(frozen=True)
class GridInpainting(MaskPhysics):
    """m = 1 at every s-th row and column, s sampled for every image: an image sampled coarsely.

    After a blur, in a `Chain`, it is super-resolution whose factor differs between images; y
    keeps the size of the image, with zeros between the samples.

    Args:
        factors: s, whole numbers of at least 1, each as likely; at most the sides of the image.
    """

    factors: Sequence[int] = bounded((2, 3, 4), whole(1), "such as [2, 3, 4]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factors:
            raise ConfigError("GridInpainting.factors = []: at least one factor is needed.")

    @property
    def is_deterministic(self) -> bool:
        return len(set(self.factors)) == 1

    def known(self, draws: Draws, shape: Shape) -> Tensor:
        if max(self.factors) > min(shape[1:]):
            raise ShapeError(
                f"GridInpainting: an image of {shape[1]} x {shape[2]} pixels is smaller than the "
                f"factor {max(self.factors)}; choose smaller factors."
            )
        chance = draws.uniform("factor", ())
        place = (chance * len(self.factors)).long().clamp(max=len(self.factors) - 1)
        factor = torch.tensor(self.factors).to(chance.device)[place][:, None]
        down, across = (torch.arange(n, device=chance.device) % factor == 0 for n in shape[1:])
        return (down[:, :, None] & across[:, None])[:, None]
