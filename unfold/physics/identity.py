"""The identity: what is measured is the image itself."""

from dataclasses import dataclass
from functools import cached_property

import torch

from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class Identity(Operator):
    """Ax = x.

    Args:
        shape: of one image, (C, H, W).
    """

    shape: Shape

    @property
    def image_shape(self) -> Shape:
        return self.shape

    @property
    def measurement_shape(self) -> Shape:
        return self.shape

    @property
    def majorant(self) -> Operator:
        """Itself."""
        return self

    def forward(self, x: Image) -> Measurement:
        return x

    def adjoint(self, y: Measurement) -> Image:
        return y

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """b / (1 + γ)."""
        return b / (1 + gamma)

    @cached_property
    def norm_squared(self) -> PerImage:
        """1."""
        return torch.ones(1)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """The measurement itself."""
        return y
