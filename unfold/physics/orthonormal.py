"""Orthonormal bases of rows and columns, as matrices."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.operator import LinearOperator
from unfold.pytree import tensors
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True)
class Basis(ABC):
    """Q of n rows for signals of length n, QQᵀ = I, the slowest first."""

    def matrix(self, size: int, like: Tensor) -> Tensor:
        """Q, (n, n), on the device and in the kind of `like`; computed once."""
        return _tensor(self, size, like.dtype, like.device)

    @abstractmethod
    def check(self, size: int) -> None:
        """Refuse a length for which there is no basis.

        Raises:
            ShapeError: with the length.
        """

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
        """Refuse a length that is no power of 2.

        Raises:
            ShapeError: with the length.
        """
        if size & (size - 1):
            raise ShapeError(
                f"Walsh: a side of {size} pixels is no power of 2, and Hadamard patterns are; set "
                "data.crop and data.multiple_of so that the sides are."
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
class OrthonormalRows(LinearOperator, ABC):
    """A map whose measurements are coefficients of the image in part of an orthonormal basis."""

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: float | None = None
    ) -> Image:
        """b − γ/(1 + γ) A*Ab."""
        return b - gamma / (1 + gamma) * self.normal(b)

    @cached_property
    def norm_squared(self) -> PerImage:
        """1."""
        held = tensors(self)
        return torch.ones(self.batch, device=held[0].device if held else None)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y."""
        return self.adjoint(y)


@dataclass(frozen=True, eq=False)
class OrthonormalMatrix(OrthonormalRows, ABC):
    """A map by a matrix Φ with ΦΦᵀ = I, its first field.

    Where the matrix requires gradients, Φ is free to leave ΦΦᵀ = I, and the derivatives of the
    solves are those of the iterative ones, not of the closed forms.
    """

    matrix: Tensor

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: float | None = None
    ) -> Image:
        """b − γ/(1 + γ) A*Ab, where ΦΦᵀ = I is certain."""
        own = LinearOperator if self.matrix.requires_grad else OrthonormalRows
        return own.solve_normal(self, b, gamma, start, tol)

    @cached_property
    def norm_squared(self) -> PerImage:
        """1, where ΦΦᵀ = I is certain."""
        own = LinearOperator if self.matrix.requires_grad else OrthonormalRows
        found: PerImage = own.norm_squared.func(self)  # type: ignore[attr-defined]
        return found

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y, where ΦΦᵀ = I is certain."""
        own = LinearOperator if self.matrix.requires_grad else OrthonormalRows
        return own.pseudo_inverse(self, y)


class PerPixel(LinearOperator):
    """A with A*A = diag(w): each pixel is seen with a power of its own, and by itself."""

    @property
    @abstractmethod
    def power(self) -> Tensor:
        """w ≥ 0, (B or 1, 1 or C, H, W)."""

    def normal(self, x: Image) -> Image:
        """w · x."""
        return self.power * x

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: float | None = None
    ) -> Image:
        """b / (1 + γw)."""
        return b / (1 + gamma * self.power)

    @cached_property
    def norm_squared(self) -> PerImage:
        """The largest w of each sample, and no less where the transforms round up."""
        largest = self.power.detach().flatten(1).amax(1)
        return largest * (1 + 100 * torch.finfo(largest.dtype).eps)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y / w, and 0 where nothing is seen."""
        seen = self.power != 0
        return torch.where(seen, self.adjoint(y) / torch.where(seen, self.power, 1), 0)


@dataclass(frozen=True, eq=False)
class Coefficients(OrthonormalRows):
    """Ax = the kept entries of Q_H (d · x) Q_Wᵀ.

    Args:
        signs: d, of −1 and 1, whole numbers, (B or 1, 1, H, W): they spread an image over all
            coefficients.
        kept: the places of the m entries kept, row by row, each once, (B or 1, m).
        basis: Q.
        image_shape: of one image, (C, H, W); one measurement is (C, m).

    Raises:
        ShapeError: the signs do not fit the image, or a place is outside it.
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
