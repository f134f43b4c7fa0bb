"""Orthonormal bases of rows and columns, as matrices."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ShapeError


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
