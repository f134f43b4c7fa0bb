"""Inpainting: some pixels are missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.base import Physics
from unfold.physics.noise.base import Level, checked, sample_level
from unfold.physics.operator import LinearOperator, Operator
from unfold.pytree import Derived
from unfold.random import Draws
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class Mask(LinearOperator):
    """Ax = m · x, pixel by pixel.

    Args:
        mask: m, real, (B or 1, C, H, W); 1 where a pixel is seen, 0 where it is missing.

    Raises:
        ShapeError: the mask does not have four dimensions; nothing is broadcast silently.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.ndim != 4 or self.mask.is_complex():
            raise ShapeError(
                f"Mask.mask must be real, (batch or 1, channel, height, width), got "
                f"{tuple(self.mask.shape)} of {self.mask.dtype}; expand it over shared channels."
            )

    @cached_property
    def image_shape(self) -> Shape:
        return tuple(self.mask.shape[1:])

    @cached_property
    def measurement_shape(self) -> Shape:
        return tuple(self.mask.shape[1:])

    @Derived
    def squared(self) -> Tensor:
        """m²."""
        return self.mask**2

    @property
    def abs_operator(self) -> Operator:
        """With |m|."""
        return replace(self, mask=self.mask.abs())

    def forward(self, x: Image) -> Measurement:
        return self.mask * x

    def adjoint(self, y: Measurement) -> Image:
        return self.mask * y

    def normal(self, x: Image) -> Image:
        """m² · x."""
        return self.squared * x

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: float | None = None
    ) -> Image:
        """b / (1 + γm²)."""
        return b / (1 + gamma * self.squared)

    @cached_property
    def norm_squared(self) -> PerImage:
        """The largest m² of each sample."""
        return self.squared.detach().flatten(1).amax(1)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """y / m where m is not 0, and 0 elsewhere."""
        seen = self.mask != 0
        return torch.where(seen, y / torch.where(seen, self.mask, 1), 0)


@dataclass(frozen=True)
class Inpainting(Physics):
    """m(u) ~ Bernoulli(keep), independently for every pixel u and image, shared by the channels.

    Args:
        noise: added to the seen pixels, and to the zeros of the missing ones.
        keep: probability that a pixel is seen, in (0, 1]; a number, or a range of which every image
            draws its own value. At least one pixel is always seen.

    Raises:
        ConfigError: keep is not in (0, 1].
    """

    keep: Level = 0.5

    def __post_init__(self) -> None:
        words = "must be in (0, 1], the fraction of pixels that are seen"
        keep = checked("Inpainting.keep", self.keep, lambda k: 0 < k <= 1, words)
        object.__setattr__(self, "keep", keep)

    @property
    def is_deterministic(self) -> bool:
        """Only where nothing is missing."""
        return self.keep == 1

    def sample(self, draws: Draws, shape: Shape) -> Mask:
        """(B, C, H, W), the channels being views of one."""
        seen = sample_mask(draws, (1, *shape[1:]), self.keep)
        mask = seen[:1] if self.is_deterministic else seen
        return Mask(mask.to(draws.dtype).expand(-1, *shape))


def sample_mask(draws: Draws, shape: Shape, keep: Level) -> Tensor:
    """(B, …): independently true with probability `keep`, and at least once in every sample."""
    chance = draws.uniform("pixels", shape)
    own = sample_level(keep, draws, "keep")
    if isinstance(own, Tensor):
        own = own.reshape(-1, 1, 1, 1)
    least = chance.amin((1, 2, 3), keepdim=True)
    return chance <= torch.clamp(least, min=own)


@dataclass(frozen=True)
class BoxInpainting(Physics):
    """m = 0 in one box at a random place inside the image, 1 elsewhere, shared by the channels.

    Args:
        noise: added to the seen pixels, and to the zeros of the missing ones.
        side: height and width of the box over those of the image, in (0, 1); a number, or a range
            of which every image draws its own value. At least one pixel is missing, and one row or
            column is seen.

    Raises:
        ConfigError: side is not in (0, 1).
    """

    side: Level = 0.4

    def __post_init__(self) -> None:
        words = "must be in (0, 1), the side of the box over that of the image"
        side = checked("BoxInpainting.side", self.side, lambda s: 0 < s < 1, words)
        object.__setattr__(self, "side", side)

    @property
    def is_deterministic(self) -> bool:
        """Never: the place is drawn."""
        return False

    def sample(self, draws: Draws, shape: Shape) -> Mask:
        """(B, C, H, W), the channels being views of one.

        Raises:
            ShapeError: the image is a single pixel.
        """
        if shape[1:] == (1, 1):
            raise ShapeError("BoxInpainting: an image of 1 x 1 pixel has nothing beside a box.")
        side, chance = sample_level(self.side, draws, "side"), draws.uniform("place", (2,))
        down, across = (
            _inside(side, chance[:, axis], length) for axis, length in enumerate(shape[1:])
        )
        hole = down[:, :, None] & across[:, None]
        return Mask((~hole)[:, None].to(draws.dtype).expand(-1, *shape))


def _inside(side: float | Tensor, chance: Tensor, length: int) -> Tensor:
    """(B, length): which places of an axis are in the box; every first place is as likely."""
    share = torch.as_tensor(side, dtype=chance.dtype, device=chance.device)
    size = (share * length).round().clamp(1, max(1, length - 1))
    first = (chance * (length - size + 1)).floor()
    place = torch.arange(length, device=chance.device)
    after = place >= first[:, None]
    return after & (place < (first + size)[:, None])


@dataclass(frozen=True)
class LineInpainting(Physics):
    """m of whole rows, or whole columns: each is seen with probability `keep`, by all channels.

    Args:
        noise: added to the seen pixels, and to the zeros of the missing ones.
        keep: probability that a line is seen, in (0, 1]; a number, or a range of which every image
            draws its own value. At least one line is always seen.
        lines: `rows` or `columns`.

    Raises:
        ConfigError: keep is not in (0, 1].
    """

    keep: Level = 0.5
    lines: Literal["rows", "columns"] = "rows"

    def __post_init__(self) -> None:
        if self.lines not in ("rows", "columns"):
            raise ConfigError(
                f"LineInpainting.lines = {self.lines!r}: must be one of ['columns', 'rows']."
            )
        words = "must be in (0, 1], the fraction of lines that are seen"
        keep = checked("LineInpainting.keep", self.keep, lambda k: 0 < k <= 1, words)
        object.__setattr__(self, "keep", keep)

    @property
    def is_deterministic(self) -> bool:
        """Only where nothing is missing."""
        return self.keep == 1

    def sample(self, draws: Draws, shape: Shape) -> Mask:
        """(B, C, H, W), all but one side being views of one."""
        _, height, width = shape
        each = (1, height, 1) if self.lines == "rows" else (1, 1, width)
        seen = sample_mask(draws, each, self.keep)
        mask = seen[:1] if self.is_deterministic else seen
        return Mask(mask.to(draws.dtype).expand(-1, *shape))


@dataclass(frozen=True)
class GridInpainting(Physics):
    """m = 1 at every s-th row and column, s drawn for every image: an image sampled coarsely.

    Behind a blur, in physics=chain, it is super-resolution whose factor differs between images; y
    keeps the size of the image, with zeros between the samples.

    Args:
        noise: added to the seen pixels, and to the zeros of the missing ones.
        factors: s, whole numbers of at least 1, each as likely; at most the sides of the image.

    Raises:
        ConfigError: there is no factor, or one is no such number.
    """

    factors: Sequence[int] = (2, 3, 4)

    def __post_init__(self) -> None:
        for factor in self.factors or [0]:
            if isinstance(factor, bool) or int(factor) != factor or factor < 1:
                raise ConfigError(
                    f"GridInpainting.factors = {list(self.factors)}: must be whole numbers of at "
                    "least 1, such as [2, 3, 4]."
                )
        object.__setattr__(self, "factors", tuple(map(int, self.factors)))

    @property
    def is_deterministic(self) -> bool:
        """Where there is one factor."""
        return len(set(self.factors)) == 1

    def sample(self, draws: Draws, shape: Shape) -> Mask:
        """(B, C, H, W), the channels being views of one.

        Raises:
            ShapeError: a factor is larger than a side.
        """
        if max(self.factors) > min(shape[1:]):
            raise ShapeError(
                f"GridInpainting: an image of {shape[1]} x {shape[2]} pixels is smaller than the "
                f"factor {max(self.factors)}; choose smaller physics.factors."
            )
        own = draws.take([0]) if self.is_deterministic else draws
        chance = own.uniform("factor", ())
        place = (chance * len(self.factors)).long().clamp(max=len(self.factors) - 1)
        factor = torch.tensor(self.factors, device=chance.device)[place][:, None]
        down, across = (torch.arange(n, device=chance.device) % factor == 0 for n in shape[1:])
        seen = down[:, :, None] & across[:, None]
        return Mask(seen[:, None].to(draws.dtype).expand(-1, *shape))
