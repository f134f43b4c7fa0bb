"""Sparse codes, on which learned thresholding is compared: `data=sparse_codes`."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from unfold.data.example import Example
from unfold.data.indexed.drawn import DrawnData
from unfold.data.own import ArrayExamples
from unfold.parameters.bounds import bounded, inside, whole
from unfold.typing import Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseCodes(DrawnData):
    """x_i = b_i n_i with b_i ~ Bernoulli(p) and n_i ~ N(0, 1), as images of one row (1, 1, n).

    Args:
        size: n.
        density: p.
        validation_file: an array (N, n) of codes to validate on, or their table (n, N) as Chen et
            al. store it; None draws them.
        test_file: another, to test on.

    Source: Chen, Liu, Wang and Yin, Theoretical linear convergence of unfolded ISTA and its
    practical weights and thresholds, NeurIPS 2018, section 4.1.
    """

    size: int = bounded(500, whole(1), "in entries")
    density: float = bounded(0.1, inside("(0, 1]"), "the share of entries that are not 0")
    repeats: int = bounded(6400, whole(1), "codes of an epoch")
    validation_images: int = bounded(1000, whole(0), "in codes")
    test_images: int = bounded(1000, whole(0), "in codes")
    batch_size: int = bounded(64, whole(1), "in codes")
    evaluation_batch_size: int = bounded(1000, whole(1), "in codes")
    validation_file: str | None = None
    test_file: str | None = None

    @cached_property
    def _stored(self) -> dict[str, Tensor]:
        given = {"validation": self.validation_file, "test": self.test_file}
        return {s: ArrayExamples(path, self.size).images for s, path in given.items() if path}

    def count(self, split: str) -> int:
        return len(self._stored[split]) if split in self._stored else super().count(split)

    def picture(self, split: str, epoch: int, index: int) -> Example:
        if split in self._stored:
            return Example(self._stored[split][index])
        return super().picture(split, epoch, index)

    def shape(self, split: str) -> Shape:
        return (self.channels, 1, self.size)

    def drawn(self, g: np.random.Generator, split: str) -> np.ndarray:
        x = g.standard_normal(self.shape(split), dtype=np.float32)
        return np.where(g.random(x.shape, dtype=np.float32) < self.density, x, np.float32(0))
