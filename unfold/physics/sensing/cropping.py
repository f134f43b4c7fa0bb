"""Cropping an image, and padding it with zeros."""

from dataclasses import dataclass

from torch.nn.functional import pad

from unfold.errors import ShapeError
from unfold.physics.closed_forms import Isometry, OrthonormalRows
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Cropped(OrthonormalRows):
    """Ax = the pixels of x from (top, left), height × width of them: AA* = I.

    Args:
        image_shape: of one image, (C, H, W).
        top: rows left out above.
        left: columns left out before.
        height: rows kept.
        width: columns kept.
    """

    nonnegative = True

    image_shape: Shape
    top: int
    left: int
    height: int
    width: int

    def __post_init__(self) -> None:
        down, across = self.top + self.height, self.left + self.width
        inside = self.top >= 0 and self.left >= 0 and min(self.height, self.width) >= 1
        if not inside or down > self.image_shape[1] or across > self.image_shape[2]:
            raise ShapeError(
                f"Cropped: {self.height} x {self.width} pixels from ({self.top}, {self.left}) are "
                f"not inside an image of {self.image_shape[1]} x {self.image_shape[2]}."
            )

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.height, self.width

    def forward(self, x: Image) -> Measurement:
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def adjoint(self, y: Measurement) -> Image:
        below = self.image_shape[1] - self.top - self.height
        after = self.image_shape[2] - self.left - self.width
        return pad(y, (self.left, after, self.top, below))


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
