"""Masks of columns by the rules of fastMRI, so that results compare with published ones."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from unfold.physics.mri.sampling import Sampling


@dataclass(frozen=True)
class FastMRIColumns(Sampling):
    """The masks of fastMRI: a full centre, and columns of a rule joined to it.

    The centre has round(centre · W) columns from index ⌊(W − n + 1)/2⌋ on, frequency 0 in the
    middle at ⌊W/2⌋. The number of all columns is W / acceleration on average, or nearly so.

    Source: Zbontar et al., fastMRI: an open dataset and benchmarks for accelerated MRI,
    arXiv:1811.08839 (2018), section 6.1, and the rules of the software that comes with it.
    """

    stream = "columns"
    axes = 1

    def mask(self, g: Generator, height: int, width: int, acceleration: float) -> ndarray:
        """(1, W): all rows of a column, or none."""
        inner = max(1, round(width * self.centre))
        first = (width - inner + 1) // 2
        mask = self._outer(g, width, inner, acceleration)
        mask[first : first + inner] = 1
        return np.asarray(np.fft.ifftshift(mask)[None])

    @abstractmethod
    def _outer(self, g: Generator, width: int, inner: int, acceleration: float) -> ndarray:
        """The columns, (W,), frequency 0 in the middle, besides a centre of `inner` of them."""


@dataclass(frozen=True)
class FastMRIRandom(FastMRIColumns):
    """Each column outside the centre is acquired with one probability, on its own.

    p = (W / acceleration − n) / (W − n), n the columns of the centre.
    """

    def _outer(self, g: Generator, width: int, inner: int, acceleration: float) -> ndarray:
        p = (width / acceleration - inner) / max(width - inner, 1)
        return (g.uniform(size=width) < p).astype(np.float64)


@dataclass(frozen=True)
class FastMRIEquispaced(FastMRIColumns):
    """Columns at an even distance d from a random offset, one of 0, …, round(d) − 1.

    Args:
        adjusted: whether d = a (W − n) / (W − a n), so that all columns with the n of the centre
            are nearly W / a, a the acceleration; their places are rounded, and the last column is
            none of them. Else d = a, exactly even as of GRAPPA, with more columns than W / a.
    """

    adjusted: bool = True

    def _outer(self, g: Generator, width: int, inner: int, acceleration: float) -> ndarray:
        mask = np.zeros(width)
        rest = width - acceleration * inner
        if self.adjusted and rest <= 0:  # the centre is all that is acquired
            return mask
        distance = acceleration * (width - inner) / rest if self.adjusted else acceleration
        end = width - (self.adjusted and acceleration > 1)
        places = np.arange(g.integers(round(distance)), end, distance)
        mask[np.minimum(np.around(places).astype(int), width - 1)] = 1
        return mask
