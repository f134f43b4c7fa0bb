"""Part of an image."""

from dataclasses import dataclass

from torch.nn.functional import pad

from unfold.errors import ShapeError
from unfold.physics.tight import OrthonormalRows
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Cropped(OrthonormalRows):
    """Ax = the pixels of x from (top, left), height × width of them: AA* = I.

    Args:
        shape: of one image, (C, H, W).
        top: rows left out above.
        left: columns left out before.
        height: rows kept.
        width: columns kept.

    Raises:
        ShapeError: the crop is empty or reaches outside the image.
    """

    shape: Shape
    top: int
    left: int
    height: int
    width: int

    def __post_init__(self) -> None:
        down, across = self.top + self.height, self.left + self.width
        inside = self.top >= 0 and self.left >= 0 and min(self.height, self.width) >= 1
        if not inside or down > self.shape[1] or across > self.shape[2]:
            raise ShapeError(
                f"Cropped: {self.height} x {self.width} pixels from ({self.top}, {self.left}) are "
                f"not inside an image of {self.shape[1]} x {self.shape[2]}."
            )

    @property
    def image_shape(self) -> Shape:
        return self.shape

    @property
    def measurement_shape(self) -> Shape:
        return self.shape[0], self.height, self.width

    def forward(self, x: Image) -> Measurement:
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def adjoint(self, y: Measurement) -> Image:
        below = self.shape[1] - self.top - self.height
        after = self.shape[2] - self.left - self.width
        return pad(y, (self.left, after, self.top, below))
