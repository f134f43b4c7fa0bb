"""Sparse matrices, their products with batches of vectors, and the operator of one."""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.operator import LinearOperator
from unfold.typing import Image, Measurement, Shape


class Matrix(NamedTuple):
    """A sparse matrix and its transpose, both by rows."""

    forward: Tensor
    transposed: Tensor

    @property
    def swapped(self) -> "Matrix":
        return Matrix(self.transposed, self.forward)


class Entries(NamedTuple):
    """The real entries of a sparse matrix by row and column; those of equal places are added up."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    shape: tuple[int, int]

    def matrix(self, dtype: torch.dtype, device: torch.device) -> Matrix:
        row, column, value, shape = self
        transposed = Entries(column, row, value, shape[::-1])
        return Matrix(_by_rows(self, dtype, device), _by_rows(transposed, dtype, device))


def _by_rows(entries: Entries, dtype: torch.dtype, device: torch.device) -> Tensor:
    row, column, value, shape = entries
    order = np.lexsort((column, row))
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    with warnings.catch_warnings(), torch.inference_mode(False):
        # PyTorch calls the layout a beta; the products used here are tested against dense ones.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts.astype(np.int64)),
            torch.from_numpy(column[order]),
            torch.from_numpy(value[order]).to(dtype),
            size=shape,
        ).to(device)


class Product(torch.autograd.Function):
    """Mv for each row v of a batch, M sparse; its derivative of any order is by Mᵀ and M."""

    @staticmethod
    def forward(ctx: Any, matrix: Matrix, v: Tensor) -> Tensor:
        ctx.matrix = matrix
        if v.is_complex():
            return torch.complex(_product(matrix, v.real), _product(matrix, v.imag))
        return _product(matrix, v)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[None, Tensor]:
        return None, multiply(ctx.matrix.swapped, u)


def multiply(matrix: Matrix, v: Tensor) -> Tensor:
    """(B, m): Mv for each row of v, (B, n)."""
    product: Tensor = Product.apply(matrix, v)  # type: ignore[no-untyped-call]
    return product


def _product(matrix: Matrix, v: Tensor) -> Tensor:
    # Never `mv`, not even for one column: its sums round otherwise, and a sample would depend on
    # whether it has batch mates. The matrix is read once for all columns, 3 times faster for 8.
    return (matrix.forward @ v.mT).mT.contiguous()


class Table:
    """A real sparse matrix, whose tensors are made once for each kind of image."""

    def __init__(self, entries: Entries) -> None:
        self._entries, self.shape = entries, entries.shape
        self._made: dict[tuple[torch.dtype, torch.device], Matrix] = {}

    def matrix(self, like: Tensor) -> Matrix:
        """The matrix and its transpose, in the precision and on the device of `like`."""
        key = like.dtype.to_real(), like.device
        if key not in self._made:
            self._made[key] = self._entries.matrix(*key)
        return self._made[key]


@dataclass(frozen=True, eq=False)
class Sparse(LinearOperator):
    """Ax = Mx, M real and sparse, the pixels row by row and channel by channel.

    Args:
        table: M, m rows and C · H · W columns.
        image_shape: of one image, (C, H, W); one measurement is (m,).
    """

    table: Table
    image_shape: Shape

    def __post_init__(self) -> None:
        pixels = torch.Size(self.image_shape).numel()
        if self.table.shape[1] != pixels:
            raise ShapeError(
                f"Sparse: a matrix of {self.table.shape[1]} columns does not act on images of "
                f"{self.image_shape}, which have {pixels} pixels."
            )

    @property
    def measurement_shape(self) -> Shape:
        return (self.table.shape[0],)

    def forward(self, x: Image) -> Measurement:
        return multiply(self.table.matrix(x), x.flatten(1))

    def adjoint(self, y: Measurement) -> Image:
        return multiply(self.table.matrix(y).swapped, y).reshape(-1, *self.image_shape)
