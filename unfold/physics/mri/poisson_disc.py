"""Points of the Fourier plane that keep their distance."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, hypot

import numpy as np

from unfold.parameters.bounds import bounded, nonnegative
from unfold.physics.mri.sampling import Sampling


@dataclass(frozen=True)
class PoissonDisc(Sampling):
    """Points thrown at random, of which none is nearer than r(k) to an earlier one at k.

    r(k) = r₀ (1 + slope · |k| / k_max), so that the density falls outwards as 1 / r². r₀ shrinks
    while points are thrown, until H · W / acceleration are acquired, counted with the centre.

    The mask has two dimensions: both are phase encodings of a scan in three.

    Args:
        acceleration: H · W over the points acquired, ≥ 1; a number, or a range from which every
            image samples its own value.
        centre: fraction of the rows and of the columns around frequency 0 whose points are all
            acquired, in (0, 1/√acceleration]; at least one point is.
        slope: how fast the distance grows, ≥ 0; 0 is uniform.

    Source: McCool and Fiume, Hierarchical Poisson disk sampling distributions, Graphics Interface
    1992, for the shrinking distance; Lustig and Pauly, SPIRiT: iterative self-consistent parallel
    imaging reconstruction from arbitrary k-space, Magnetic Resonance in Medicine 64 (2010), for
    its use.
    """

    slope: float = bounded(2.0, nonnegative)

    stream = "points"
    axes = 2

    def mask(
        self, g: np.random.Generator, height: int, width: int, acceleration: float
    ) -> np.ndarray:
        total = round(height * width / acceleration)
        inside = np.outer(_middle(height, self.centre), _middle(width, self.centre))
        count = max(0, total - int(inside.sum()))
        mask = inside.astype(np.float64)
        order = g.permutation(np.flatnonzero(~inside))
        mask.ravel()[throw(order, 1 + self.slope * _radius(height, width), count)] = 1
        return np.asarray(np.fft.ifftshift(mask))


def throw(order: np.ndarray, growth: np.ndarray, count: int) -> np.ndarray:
    """`count` places, each at least r₀ · growth(p) from every p chosen before it.

    r₀ starts where squares of that side would cover the plane and shrinks by 3 % whenever no place
    is left, so that distances only ever shrink and each chosen place is looked at once.

    Args:
        order: places in the table, row by row, in the order in which they are tried.
        growth: relative distance kept at each place, (H, W).
        count: at most as many as there are places.
    """
    chosen: list[int] = []
    grown = growth.ravel()[order]
    r = float(np.sqrt((grown**-2).sum() / max(count, 1)))
    reach = ceil(r * float(growth.max()))
    width = growth.shape[1] + reach  # the margin of a row is that of the next one, too
    # The largest r at which a place is still free, with a margin of the reach of a disc.
    room = np.full((growth.shape[0] + 2 * reach) * width + reach, np.inf)
    rows, columns = np.divmod(order, growth.shape[1])
    places = (rows + reach) * width + columns + reach
    # Discs have a dozen places: plain numbers, one by one, beat calls of NumPy on windows.
    free, place, growths = room.data, places.tolist(), grown.tolist()
    around = disc(reach, width)
    while len(chosen) < count:
        for i in np.flatnonzero(room[places] >= r).tolist():
            at, own = place[i], growths[i]
            if free[at] < r:
                continue
            if len(chosen) == count:
                break
            chosen.append(i)
            for distance, step in around:
                largest = distance / own
                if largest >= r:
                    break
                if largest < free[at + step]:
                    free[at + step] = largest
        r *= 0.97
    return order[chosen]


@lru_cache(maxsize=64)
def disc(reach: int, width: int) -> tuple[tuple[float, int], ...]:
    """How far the places around one are, and where in a table of this width; nearest first."""
    side = range(-reach, reach + 1)
    near = ((hypot(v, u), v * width + u) for v in side for u in side)
    return tuple(sorted(pair for pair in near if pair[0] <= reach))


def _middle(size: int, fraction: float) -> np.ndarray:
    """Which of the frequencies of a side, 0 in the middle, are nearest to 0: at least one."""
    order = np.argsort(np.abs(_frequencies(size)), kind="stable")
    inside = np.zeros(size, dtype=bool)
    inside[order[: max(1, round(fraction * size))]] = True
    return inside


def _radius(height: int, width: int) -> np.ndarray:
    """|k| over its largest value, (H, W), 0 in the middle."""
    v, u = (2 * _frequencies(size) / size for size in (height, width))
    k = np.hypot(v[:, None], u)
    return np.asarray(k / max(float(k.max()), 1e-9))


def _frequencies(size: int) -> np.ndarray:
    return np.asarray(np.fft.fftshift(np.fft.fftfreq(size, 1 / size)))
