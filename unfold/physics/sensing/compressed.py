"""Compressed sensing of full images by fast structured matrices."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from unfold.errors import ShapeError
from unfold.parameters.bounds import bounded, inside, one_of
from unfold.physics.base import Physics
from unfold.physics.sensing.bases import Basis, Coefficients, Cosine, Walsh
from unfold.physics.sensing.blocks import PER_PIXEL
from unfold.random import Draws, generator
from unfold.typing import Shape


@dataclass(frozen=True)
class CompressedSensing(Physics):
    """y = m coefficients of d · x in a basis with noise, d a random sign at every pixel.

    Signs and coefficients are sampled for every image and shared by its channels.

    Args:
        noise: added to the coefficients.
        ratio: m over the pixels of a channel, in (0, 1]; at least one is measured.
        basis: of cosines, or `Walsh` for the transform of Hadamard, whose sides are powers of 2.

    Source: Do, Gan, Nguyen and Tran, Fast and efficient compressive sensing using structurally
    random matrices, IEEE Trans. Signal Processing 60 (2012), equation 2.
    """

    ratio: float = bounded(0.25, inside("(0, 1]"), PER_PIXEL)
    basis: Basis = field(default_factory=Cosine)

    def sample(self, draws: Draws, shape: Shape) -> Coefficients:
        """One set of signs and of coefficients per image."""
        _, height, width = shape
        for side in (height, width):
            self.basis.check(side)
        count = max(1, round(self.ratio * height * width))

        def signs(g: np.random.Generator, _: int) -> np.ndarray:
            return np.asarray(g.integers(0, 2, (1, height, width)) * 2 - 1)

        def kept(g: np.random.Generator, _: int) -> np.ndarray:
            return np.sort(g.permutation(height * width)[:count])

        own = replace(draws, dtype=torch.int8).each("signs", signs)
        places = replace(draws, dtype=torch.int64).each("kept", kept)
        return Coefficients(own, places, self.basis, shape)


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
        noise: added to the coefficients.
        ratio: m over the pixels of a channel, in (0, 1]; at least one is measured. The images are
            square, of a side that is a power of 2.
        ordering: `sequency`, `square`, `cake_cutting` or `random`.

    Source: Duarte et al., Single-pixel imaging via compressive sampling, IEEE Signal Processing
    Magazine 25 (2008); Yu, Super sub-Nyquist single-pixel imaging by means of cake-cutting Hadamard
    basis sort, Sensors 19 (2019), for the pieces.
    """

    ratio: float = bounded(0.25, inside("(0, 1]"), PER_PIXEL)
    ordering: Ordering = bounded("sequency", one_of(*ORDERINGS))

    is_deterministic = True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, n, n), n the power of 2 with m coefficients."""
        channels, count = measurement_shape
        side = 2 ** round(math.log2(count / self.ratio) / 2)
        return channels, side, side

    def sample(self, draws: Draws, shape: Shape) -> Coefficients:
        """The same for every image."""
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
