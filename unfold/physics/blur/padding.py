"""Padding: an image continued beyond its border."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from unfold.errors import ShapeError
from unfold.parameters.bounds import Declared, bounded, one_of
from unfold.physics.closed_forms import ClosedForm, Isometry
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape

BOUNDARIES = {"reflect": "reflect", "replicate": "edge", "symmetric": "symmetric"}
"""The modes of `numpy.pad`: a mirror in the outermost pixel, that pixel repeated, a mirror in the
outermost edge."""


@dataclass(frozen=True, eq=False)
class Padding(Declared, ClosedForm):
    """(Ax)(u) = x(c(u)), c(u) the pixel that the boundary shows at u; A*A counts its copies.

    A* folds the border back: every copy is added to its pixel.

    Args:
        image_shape: of one image, (C, H, W).
        top: rows added above, and as many below.
        left: columns added before, and as many after.
        boundary: `reflect`, `replicate` or `symmetric`.
    """

    nonnegative = True

    image_shape: Shape
    top: int
    left: int
    boundary: str = bounded(accepted=one_of(*BOUNDARIES))

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.top, self.left) < 0:
            raise ShapeError(
                f"Padding: {self.top} rows and {self.left} columns cannot be added; "
                "ZeroPadding(...).H crops."
            )

    @property
    def measurement_shape(self) -> Shape:
        channels, height, width = self.image_shape
        return channels, height + 2 * self.top, width + 2 * self.left

    def forward(self, x: Image) -> Measurement:
        rows, columns = self._places(x)
        return x[..., rows, :][..., columns]

    def adjoint(self, y: Measurement) -> Image:
        rows, columns = self._places(y)
        channels, height, width = self.image_shape
        narrow = y.new_zeros(*y.shape[:-1], width).index_add(-1, columns, y)
        return narrow.new_zeros(len(y), channels, height, width).index_add(-2, rows, narrow)

    def normal(self, x: Image) -> Image:
        return self._copies(x) * x

    def solve(self, b: Image, gamma: Scalar) -> Image:
        return b / (1 + gamma * self._copies(b))

    @cached_property
    def norm_squared(self) -> PerImage:
        return self.copies.flatten(1).amax(1)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y / copies: the mean over the copies."""
        return self.adjoint(y) / self._copies(y)

    @cached_property
    def copies(self) -> Tensor:
        """How often each pixel is shown, (1, 1, H, W), on the CPU."""
        down, across = (
            torch.bincount(place, minlength=size)
            for place, size in zip(self.places, self.image_shape[1:], strict=True)
        )
        return (down[:, None] * across).double()[None, None]

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """The row behind every row of the result, and the column behind every column."""
        mode: Any = BOUNDARIES[self.boundary]
        pairs = zip((self.top, self.left), self.image_shape[1:], strict=True)
        down, across = (np.pad(np.arange(size), added, mode) for added, size in pairs)
        return torch.from_numpy(down), torch.from_numpy(across)

    def _places(self, like: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = self.places
        return rows.to(like.device), columns.to(like.device)

    def _copies(self, like: Tensor) -> Tensor:
        return self.copies.to(like.device, like.dtype.to_real())


@dataclass(frozen=True, eq=False)
class ZeroPadding(Isometry):
    """Ax = x, and zeros below and to the right of it: A*A = I.

    Args:
        image_shape: of one image, (C, H, W).
        height: rows of the result, at least H.
        width: columns of the result, at least W.
    """

    image_shape: Shape
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < self.image_shape[1] or self.width < self.image_shape[2]:
            raise ShapeError(
                f"ZeroPadding: {self.height} x {self.width} pixels do not hold an image of "
                f"{self.image_shape[1]} x {self.image_shape[2]}."
            )

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.height, self.width

    def forward(self, x: Image) -> Measurement:
        return pad(x, (0, self.width - self.image_shape[2], 0, self.height - self.image_shape[1]))

    def adjoint(self, y: Measurement) -> Image:
        return y[..., : self.image_shape[1], : self.image_shape[2]]
