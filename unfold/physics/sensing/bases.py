"""Orthonormal bases of rows and columns, as matrices, and images in part of one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.closed_forms import OrthonormalRows
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True)
class Basis(ABC):
    """Q of n rows for signals of length n, QQᵀ = I, the slowest first."""

    def matrix(self, size: int, like: Tensor) -> Tensor:
        """Q, (n, n), on the device and in the kind of `like`; computed once."""
        return _tensor(self, size, like.dtype, like.device)

    @abstractmethod
    def check(self, size: int) -> None:
        """Raise a `ShapeError` for a length for which there is no basis."""

    @abstractmethod
    def values(self, size: int) -> np.ndarray:
        """Q in double precision."""


@dataclass(frozen=True)
class Cosine(Basis):
    """Q[k, j] = √(2/n) cos(πk(2j + 1) / 2n), 1/√n for k = 0: the second cosine transform.

    Source: Ahmed, Natarajan and Rao, Discrete cosine transform, IEEE Trans. Computers 23 (1974),
    equation 6.
    """

    def check(self, size: int) -> None:
        """Nothing: there is one for every length."""

    def values(self, size: int) -> np.ndarray:
        k, j = np.arange(size)[:, None], np.arange(size)
        q = np.sqrt(2 / size) * np.cos(np.pi * k * (2 * j + 1) / (2 * size))
        q[0] = 1 / np.sqrt(size)
        return np.asarray(q)


@dataclass(frozen=True)
class Walsh(Basis):
    """The rows of a Hadamard matrix over √n, ordered by their number of sign changes.

    n is a power of 2.
    """

    def check(self, size: int) -> None:
        """Raise a `ShapeError` for a length that is no power of 2."""
        if size & (size - 1):
            raise ShapeError(
                f"Walsh: a side of {size} pixels is no power of 2, as Hadamard patterns need; crop "
                "the images to such sides."
            )

    def values(self, size: int) -> np.ndarray:
        self.check(size)
        q = np.ones((1, 1))
        while len(q) < size:
            q = np.block([[q, q], [q, -q]])
        changes = (np.diff(q, axis=1) != 0).sum(1)
        return np.asarray(q[np.argsort(changes)] / np.sqrt(size))


@lru_cache(maxsize=32)
def _tensor(basis: Basis, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(basis.values(size)).to(device=device, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Coefficients(OrthonormalRows):
    """Ax = the kept entries of Q_H (d · x) Q_Wᵀ.

    Args:
        signs: d, of −1 and 1, whole numbers, (B or 1, 1, H, W): they spread an image over all
            coefficients.
        kept: the places of the m entries kept, row by row, each once, (B or 1, m).
        basis: Q.
        image_shape: of one image, (C, H, W); one measurement is (C, m).
    """

    signs: Tensor
    kept: Tensor
    basis: Basis
    image_shape: Shape

    def __post_init__(self) -> None:
        height, width = self.image_shape[1:]
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
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.kept.shape[1]

    def forward(self, x: Image) -> Measurement:
        left, right = self._matrices(x)
        spectrum = (left @ (self.signs * x) @ right.mT).flatten(2)
        return spectrum.gather(2, self._places(x))

    def adjoint(self, y: Measurement) -> Image:
        left, right = self._matrices(y)
        empty = y.new_zeros(len(y), self.image_shape[0], self.image_shape[1] * self.image_shape[2])
        spectrum = empty.scatter(2, self._places(y), y).reshape(-1, *self.image_shape)
        return self.signs * (left.mT @ spectrum @ right)

    def _matrices(self, like: Tensor) -> tuple[Tensor, Tensor]:
        _, height, width = self.image_shape
        return self.basis.matrix(height, like), self.basis.matrix(width, like)

    def _places(self, like: Tensor) -> Tensor:
        return self.kept[:, None].expand(len(like), self.image_shape[0], -1)
