"""How sure a mean over images is, and whether two methods differ on the same images.

Images are resampled by draws that depend on their number alone, so that every table of one
evaluation has the same intervals.
"""

from collections.abc import Sequence
from itertools import groupby
from math import erfc, floor, isfinite, log10, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unfold.evaluation.records import rounded
from unfold.random import generator

ENOUGH = 5
"""Images from which on an interval is given: five values have 126 different resamples."""

RESAMPLES, LEVEL = 9999, 0.95
CHUNK = 2**20
"""Images drawn at once, so that the memory is that of a few of them for any number of rows."""

EXACT, EXACT_WITH_TIES = 50, 13
"""Pairs up to which the distribution of the rank sum is counted."""


class Interval(NamedTuple):
    """A mean, and where it lies with the chance `LEVEL`; NaN where there are too few images."""

    mean: float
    low: float
    high: float
    images: int

    @property
    def known(self) -> bool:
        """Whether there are enough images."""
        return isfinite(self.low) and isfinite(self.high)


def bootstrap(values: Sequence[float]) -> Interval:
    """The percentile interval of the mean: quantiles of the means of images drawn with replacement.

    Source: Efron and Tibshirani, An introduction to the bootstrap, Chapman & Hall (1993), chapter
    13.
    """
    found = np.asarray(values, dtype=np.float64)
    mean, count = float(found.mean()) if len(found) else nan, len(found)
    if count < ENOUGH or not np.isfinite(found).all():
        return Interval(mean, nan, nan, count)
    draws, size = generator("bootstrap", count), max(1, CHUNK // count)
    shapes = [(min(size, RESAMPLES - i), count) for i in range(0, RESAMPLES, size)]
    means = np.concatenate([found[draws.integers(0, count, shape)].mean(1) for shape in shapes])
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(mean, float(low), float(high), count)


class Comparison(NamedTuple):
    """Of two methods on the same images: the mean difference, the chance, the extreme images.

    p: of a difference as large, where the two are alike, by Wilcoxon's signed-rank test; NaN where
        there are too few images.
    ends: the images with the least and with the largest difference, and it.
    """

    difference: Interval
    p: float
    ends: tuple[tuple[str, float], ...]


def paired(one: dict[str, float], other: dict[str, float]) -> Comparison | None:
    """Compare values by image, those that both have; None where there is none."""
    names = [n for n in one if n in other and isfinite(one[n]) and isfinite(other[n])]
    if not names:
        return None
    differences = {name: other[name] - one[name] for name in names}
    ranked = sorted(differences.items(), key=lambda pair: pair[1])
    values = list(differences.values())
    chance = wilcoxon(values) if len(values) >= ENOUGH else nan
    return Comparison(bootstrap(values), chance, (ranked[0], ranked[-1]))


def wilcoxon(differences: Sequence[float]) -> float:
    """The two-sided chance of the signed-rank sum W; differences of 0 are left out.

    Exact for few pairs; else by the normal distribution, its variance lowered for ties, as SciPy
    does it.

    Source: Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).
    """
    d = np.asarray([x for x in differences if x != 0], dtype=np.float64)
    n = len(d)
    if n == 0:
        return 1.0
    sizes, ranks, ties = np.abs(d), np.empty(n), list[int]()
    order = np.argsort(sizes, kind="stable")
    first = 0
    for _, group in groupby(order, key=lambda i: sizes[i]):
        places = list(group)
        ranks[places] = first + (len(places) + 1) / 2
        first, ties = first + len(places), [*ties, len(places)]
    w = min(float(ranks[d > 0].sum()), float(ranks[d < 0].sum()))
    plain = max(ties) == 1 and n == len(differences)
    if len(differences) <= (EXACT if plain else EXACT_WITH_TIES):
        return float(min(1.0, 2 * _counts(ranks)[: round(2 * w) + 1].sum() / 2.0**n))
    variance = n * (n + 1) * (2 * n + 1) / 24 - sum(t**3 - t for t in ties) / 48
    return erfc(abs(w - n * (n + 1) / 4) / sqrt(2 * variance))


def _counts(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of the 2ⁿ sets of ranks have each sum, in halves."""
    counts = np.ones(1)
    for rank in np.rint(2 * ranks).astype(int):
        counts = np.pad(counts, (0, rank)) + np.pad(counts, (rank, 0))
    return counts


def justified(found: Interval) -> str:
    """The mean with as many decimals as its interval justifies, and half its width: 27.3 ± 0.4.

    The half width has one significant digit, two where the first is 1; a dash of too few images.
    """
    half = (found.high - found.low) / 2
    if not found.known or half == 0:
        return f"{rounded(found.mean)} ± –" if isfinite(found.mean) else "–"
    first = floor(log10(half))
    decimals = max(0, (half < 2 * 10**first) - first)
    return f"{found.mean:.{decimals}f} ± {half:.{decimals}f}"
