"""User-defined linear operators: a matrix, or a pair of functions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.nonlinear import reverse_mode
from unfold.physics.operator import LinearOperator
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Dense(LinearOperator):
    """Ax = Mx, the pixels row by row and channel by channel.

    Args:
        matrix: M, real or complex, (B or 1, m, C · H · W).
        image_shape: of one image, (C, H, W); one measurement is (m,).
    """

    matrix: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        pixels = torch.Size(self.image_shape).numel()
        if self.matrix.ndim != 3 or self.matrix.shape[2] != pixels or 0 in self.matrix.shape:
            raise ShapeError(
                f"Dense.matrix must be (batch or 1, m, {pixels}) for images of {self.image_shape}, "
                f"got {tuple(self.matrix.shape)}."
            )

    @property
    def measurement_shape(self) -> Shape:
        return (self.matrix.shape[1],)

    def forward(self, x: Image) -> Measurement:
        matrix, v = self._as(x), x.flatten(1)
        if len(matrix) == 1:  # one product of two matrices: a broadcast batch would copy M
            return v @ matrix[0].mT
        return (matrix @ v[..., None])[..., 0]

    def adjoint(self, y: Measurement) -> Image:
        matrix = self._as(y).conj()
        x = y @ matrix[0] if len(matrix) == 1 else (y[:, None] @ matrix)[:, 0]
        return x.reshape(-1, *self.image_shape)

    def _as(self, like: Tensor) -> Tensor:
        return self.matrix.to(torch.promote_types(self.matrix.dtype, like.dtype))


@dataclass(frozen=True, eq=False)
class FunctionOperator(LinearOperator):
    """A and A* as user-defined functions.

    Args:
        function: x ↦ Ax, (B, C, H, W) to (B, …), linear, sample by sample, differentiable.
        image_shape: of one image, (C, H, W).
        measured: of one measurement.
        adjoint_function: y ↦ A*y; the reverse mode of A where it is None.
        like: (1,), a number in the precision and on the device of images, as the tensors of the
            function are not known; default ones where it is None.
    """

    function: Callable[[Tensor], Tensor]
    image_shape: Shape
    measured: Shape
    adjoint_function: Callable[[Tensor], Tensor] | None = None
    like: Tensor | None = None

    @property
    def measurement_shape(self) -> Shape:
        return self.measured

    def forward(self, x: Image) -> Measurement:
        return self.function(x)

    def adjoint(self, y: Measurement) -> Image:
        if self.adjoint_function is not None:
            return self.adjoint_function(y)
        at = torch.zeros(len(y), *self.image_shape, dtype=y.dtype, device=y.device)
        return reverse_mode(self.function, at, y)
