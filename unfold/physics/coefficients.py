"""Some coefficients of an image in a separable orthonormal basis."""

from dataclasses import dataclass

from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.bases import Basis
from unfold.physics.tight import OrthonormalRows
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Coefficients(OrthonormalRows):
    """Ax = the kept entries of Q_H (d · x) Q_Wᵀ.

    Args:
        signs: d, of −1 and 1, whole numbers, (B or 1, 1, H, W): they spread an image over all
            coefficients.
        kept: the places of the m entries kept, row by row, each once, (B or 1, m).
        basis: Q.
        shape: of one image, (C, H, W); one measurement is (C, m).

    Raises:
        ShapeError: the signs do not fit the image, or a place is outside it.
    """

    signs: Tensor
    kept: Tensor
    basis: Basis
    shape: Shape

    def __post_init__(self) -> None:
        height, width = self.shape[1:]
        if tuple(self.signs.shape[1:]) != (1, height, width) or self.signs.is_floating_point():
            raise ShapeError(
                f"Coefficients.signs must be whole numbers, (batch or 1, 1, {height}, {width}), "
                f"got {tuple(self.signs.shape)} of {self.signs.dtype}."
            )
        if self.kept.ndim != 2 or not 1 <= self.kept.shape[1] <= height * width:
            raise ShapeError(
                f"Coefficients.kept must be (batch or 1, m), 1 ≤ m ≤ {height * width}, got "
                f"{tuple(self.kept.shape)}."
            )

    @property
    def image_shape(self) -> Shape:
        return self.shape

    @property
    def measurement_shape(self) -> Shape:
        return self.shape[0], self.kept.shape[1]

    def forward(self, x: Image) -> Measurement:
        left, right = self._matrices(x)
        spectrum = (left @ (self.signs * x) @ right.mT).flatten(2)
        return spectrum.gather(2, self._places(x))

    def adjoint(self, y: Measurement) -> Image:
        left, right = self._matrices(y)
        empty = y.new_zeros(len(y), self.shape[0], self.shape[1] * self.shape[2])
        spectrum = empty.scatter(2, self._places(y), y).reshape(-1, *self.shape)
        return self.signs * (left.mT @ spectrum @ right)

    def _matrices(self, like: Tensor) -> tuple[Tensor, Tensor]:
        _, height, width = self.shape
        return self.basis.matrix(height, like), self.basis.matrix(width, like)

    def _places(self, like: Tensor) -> Tensor:
        return self.kept[:, None].expand(len(like), self.shape[0], -1)
