"""Sparse matrices, their products with batches of vectors, and the operator of one."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.operator import LinearOperator
from unfold.typing import Image, Measurement, Shape

BLOCK = 2**23
"""Entries that are sorted at a time; to sort them takes thrice the memory of what is kept."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A sparse matrix by rows, and its transpose, by rows too, which is made when it is needed."""

    forward: Tensor
    reverse: Tensor | None = None

    @cached_property
    def swapped(self) -> "Matrix":
        reverse = _transposed(self.forward) if self.reverse is None else self.reverse
        return Matrix(reverse, self.forward)


@dataclass(frozen=True, eq=False)
class Entries:
    """The real entries of a sparse matrix by row and column; those of equal places are added up."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    shape: tuple[int, int]

    _made: dict[tuple[torch.dtype, torch.device], Matrix] = field(default_factory=dict, init=False)

    def matrix(self, like: Tensor) -> Matrix:
        """In the precision and on the device of `like`, for each of which it is made once."""
        key = like.dtype.to_real(), like.device
        if key not in self._made:
            self._made[key] = stacked([self], *key)
        return self._made[key]


def stacked(blocks: Iterable[Entries], dtype: torch.dtype, device: torch.device) -> Matrix:
    """The rows of matrices of equally many columns, one below the other."""
    counts, columns, values, width = [], [], [], 0
    for one in blocks:
        order, width = np.lexsort((one.column, one.row)), one.shape[1]
        counts.append(np.bincount(one.row, minlength=one.shape[0]))
        columns.append(one.column[order].astype(np.int32))
        values.append(torch.from_numpy(one.value[order]).to(dtype))
    made = _by_rows(counts, np.concatenate(columns), torch.cat(values), width)
    return Matrix(made.to(device))


def _transposed(matrix: Tensor) -> Tensor:
    column, value = matrix.col_indices().cpu().numpy(), matrix.values().cpu()
    every, width = np.arange(len(matrix), dtype=np.int32), matrix.shape[1]
    row = np.repeat(every, matrix.crow_indices().cpu().diff().numpy())
    counts, rows, values, done = [], np.empty_like(row), torch.empty_like(value), 0
    for part in np.array_split(np.arange(width), min(width, 1 + len(column) // BLOCK)):
        at = np.flatnonzero((column >= part[0]) & (column <= part[-1]))
        at = at[np.argsort(column[at], kind="stable")]
        counts.append(np.bincount(column[at] - part[0], minlength=len(part)))
        place = slice(done, done := done + len(at))
        rows[place], values[place] = row[at], value[torch.from_numpy(at)]
    return _by_rows(counts, rows, values, len(matrix)).to(matrix.device)


def _by_rows(counts: Sequence[np.ndarray], column: np.ndarray, value: Tensor, width: int) -> Tensor:
    """From the number of entries in each row, and the column of each."""
    starts = np.cumsum(np.concatenate([[0], *counts]))
    kind = torch.int32 if len(value) < 2**31 else torch.int64
    with warnings.catch_warnings(), torch.inference_mode(False):
        # PyTorch calls the layout a beta; the products used here are tested against dense ones.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts).to(kind),
            torch.from_numpy(column).to(kind),
            value,
            size=(len(starts) - 1, width),
        )


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


@dataclass(frozen=True, eq=False)
class Sparse(LinearOperator):
    """Ax = Mx, M real and sparse, the pixels row by row and channel by channel.

    Args:
        table: M, m rows and C · H · W columns.
        image_shape: of one image, (C, H, W); one measurement is (m,).
    """

    table: Entries
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
