"""One matrix for every block of an image."""

from dataclasses import dataclass
from math import isqrt

from unfold.errors import ShapeError
from unfold.physics.tight import OrthonormalMatrix
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Blocks(OrthonormalMatrix):
    """(Ax)_p = Φ x_p for every block p of n x n pixels; ΦΦᵀ = I.

    Args:
        matrix: Φ, real, (1, m, n²); the pixels of a block row by row.
        shape: of one image, (C, H, W), H and W divisible by n; one measurement is
            (C, m, H / n, W / n).

    Raises:
        ShapeError: the matrix does not have such a shape, or n does not divide the image.
    """

    shape: Shape

    def __post_init__(self) -> None:
        side = self.side
        if self.matrix.ndim != 3 or len(self.matrix) != 1 or side**2 != self.matrix.shape[2]:
            raise ShapeError(
                f"Blocks.matrix must be (1, m, n²), got {tuple(self.matrix.shape)}; n is the side "
                "of a block."
            )
        height, width = self.shape[1:]
        if height % side or width % side:
            raise ShapeError(
                f"Blocks: an image of {height} x {width} pixels is not made of blocks of {side} x "
                f"{side}; set data.multiple_of={side} and a data.crop that it divides."
            )

    @property
    def side(self) -> int:
        """n."""
        return isqrt(self.matrix.shape[-1])

    @property
    def image_shape(self) -> Shape:
        return self.shape

    @property
    def measurement_shape(self) -> Shape:
        channels, height, width = self.shape
        return channels, self.matrix.shape[1], height // self.side, width // self.side

    def forward(self, x: Image) -> Measurement:
        n, (channels, _, down, across) = self.side, self.measurement_shape
        blocks = x.reshape(-1, channels, down, n, across, n).transpose(3, 4).flatten(4)
        return (blocks @ self.matrix[0].mT.to(x.dtype)).movedim(-1, 2)

    def adjoint(self, y: Measurement) -> Image:
        n, (channels, _, down, across) = self.side, self.measurement_shape
        blocks = y.movedim(2, -1) @ self.matrix[0].to(y.dtype)
        image = blocks.reshape(-1, channels, down, across, n, n).transpose(3, 4)
        return image.reshape(-1, *self.shape)
