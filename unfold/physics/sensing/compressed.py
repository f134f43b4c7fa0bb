"""Compressed sensing by fast orthonormal transforms of the image."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.parameters.bounds import bounded, inside, one_of
from unfold.physics.base import Physics
from unfold.physics.closed_forms import OrthonormalRows
from unfold.physics.sensing.gaussian import PER_PIXEL
from unfold.random import Draws, generator
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
    """The rows of a Hadamard matrix over √n, n a power of 2, ordered by their sign changes."""

    def check(self, size: int) -> None:
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


@dataclass(frozen=True)
class CompressedSensing(Physics):
    """y = m coefficients of d · x in a basis with noise, d a random sign at every pixel.

    Signs and coefficients are sampled for every image and shared by its channels.

    Args:
        ratio: m over the pixels of a channel, in (0, 1]; at least one is measured.
        basis: of cosines, or `Walsh` for the transform of Hadamard, whose sides are powers of 2.

    Source: Do, Gan, Nguyen and Tran, Fast and efficient compressive sensing using structurally
    random matrices, IEEE Trans. Signal Processing 60 (2012), equation 2.
    """

    varied, baselines = ("ratio",), ("linear", "tv")
    ratio: float = bounded(0.25, inside("(0, 1]"), PER_PIXEL)
    basis: Basis = field(default_factory=Cosine)

    def sample(self, draws: Draws, shape: Shape) -> Coefficients:
        _, height, width = shape
        for side in (height, width):
            self.basis.check(side)
        count = max(1, round(self.ratio * height * width))

        signs = replace(draws, dtype=torch.int8).each(
            "signs", lambda g, _: g.integers(0, 2, (1, height, width)) * 2 - 1
        )
        kept = replace(draws, dtype=torch.int64).each(
            "kept", lambda g, _: np.sort(g.permutation(height * width)[:count])
        )
        return Coefficients(signs, kept, self.basis, shape)


def _shuffled(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Random ranks, the flat pattern first."""
    places = generator("single pixel", len(p)).permutation(len(p) ** 2 - 1) + 1
    return np.concatenate(([0], places)).reshape(len(p), len(p))


Ordering = Literal["sequency", "square", "cake_cutting", "random"]

ORDERINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sequency": lambda p, q: p + q,
    "square": np.maximum,
    "cake_cutting": lambda p, q: (p + 1) * (q + 1),
    "random": _shuffled,
}
"""The rank of a pattern of p and q sign changes; those of one rank row by row."""


@dataclass(frozen=True)
class SinglePixel(Physics):
    """y = the first m Walsh–Hadamard coefficients of x with noise: one detector, m patterns.

    A pattern of −1 and 1 is shown as two of 0 and 1 whose readings are subtracted; it is scaled so
    that patterns are orthonormal. With p and q sign changes down and across, those come first that
    have, by the ordering,

    - `sequency`: the least p + q, to which the total variation of a pattern is proportional;
    - `square`: the least max(p, q), those of a coarser image;
    - `cake_cutting`: the fewest connected pieces, (p + 1)(q + 1);
    - `random`: any but the flat one, which is first; the same for all images.

    Args:
        ratio: m over the pixels of a channel, in (0, 1]; at least one is measured. The images are
            square, of a side that is a power of 2.
        ordering: `sequency`, `square`, `cake_cutting` or `random`.

    Source: Duarte et al., Single-pixel imaging via compressive sampling, IEEE Signal Processing
    Magazine 25 (2008); Yu, Super sub-Nyquist single-pixel imaging by means of cake-cutting Hadamard
    basis sort, Sensors 19 (2019), for the pieces.
    """

    varied, baselines = ("ratio",), ("linear", "tv")
    ratio: float = bounded(0.25, inside("(0, 1]"), PER_PIXEL)
    ordering: Ordering = bounded("sequency", one_of(*ORDERINGS))

    is_deterministic = True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, n, n), n the power of 2 with m coefficients."""
        channels, count = measurement_shape
        side = 2 ** round(math.log2(count / self.ratio) / 2)
        if max(1, round(self.ratio * side**2)) != count:
            raise ShapeError(
                f"SinglePixel: {count} coefficients at ratio {self.ratio:g} belong to no image "
                "whose side is a power of 2; set the ratio that was measured with."
            )
        return channels, side, side

    def sample(self, draws: Draws, shape: Shape) -> Coefficients:
        _, height, width = shape
        Walsh().check(width)
        if height != width:
            raise ShapeError(
                f"SinglePixel: an image of {height} x {width} pixels is not square, and the number "
                "of coefficients must tell its sides; crop it."
            )
        count = max(1, round(self.ratio * height * width))
        changes = np.arange(width)
        rank = ORDERINGS[self.ordering](changes[:, None], changes).ravel()
        kept = torch.from_numpy(np.sort(np.argsort(rank, kind="stable")[:count]))[None]
        signs = torch.ones(1, 1, height, width, dtype=torch.int8, device=draws.device)
        return Coefficients(signs, kept.to(draws.device), Walsh(), shape)
