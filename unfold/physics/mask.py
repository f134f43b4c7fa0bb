"""Pixel by pixel weights, of which a mask of zeros and ones is the usual case."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.derived import Derived
from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class Mask(Operator):
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
    def majorant(self) -> Operator:
        """With |m|."""
        return replace(self, mask=self.mask.abs())

    def forward(self, x: Image) -> Measurement:
        return self.mask * x

    def adjoint(self, y: Measurement) -> Image:
        return self.mask * y

    def normal(self, x: Image) -> Image:
        """m² · x."""
        return self.squared * x

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
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
