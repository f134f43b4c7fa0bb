"""Which part of the Fourier plane a scanner acquires: masks of columns, and of points."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, hypot
from typing import ClassVar

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import at_least, bounded, inside, nonnegative
from unfold.physics.levels import Level, level_per_image
from unfold.physics.mri.masks import Masks
from unfold.physics.mri.trajectories import GOLDEN
from unfold.random import Draws


@dataclass(frozen=True)
class Sampling(Masks, ABC):
    """The distribution of a mask over the Fourier plane: a full centre, and others up to a number.

    Args:
        acceleration: frequencies over those acquired, ≥ 1; a number, or a range from which every
            image samples its own value.
        centre: fraction of each axis around frequency 0 that is always acquired, in (0, 1]; at
            least one frequency is.
    """

    acceleration: Level = bounded(
        4.0, at_least(1.0), "frequencies of the image over frequencies acquired", level=True
    )
    centre: float = bounded(0.08, inside("(0, 1]"))

    stream: ClassVar[str]
    """The name of the draws of the mask."""

    axes: ClassVar[int]
    """Along how many axes frequencies are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        highest = float(np.max(self.acceleration))
        largest = highest ** (-1 / self.axes)
        if not self.centre <= largest:
            raise ConfigError(
                f"{type(self).__name__}.centre = {self.centre}: must be in (0, {largest:.4g}], the "
                f"fraction of an axis that an acceleration of {highest:g} acquires."
            )

    @property
    def is_deterministic(self) -> bool:
        return self.acceleration == 1

    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, 1, H or 1, W), or (1, …) if deterministic: zeros and ones, frequency 0 at index 0."""
        draws = draws.take([0]) if self.is_deterministic else draws
        level = level_per_image(self.acceleration, draws.within("level"), "acceleration").tolist()
        return draws.each(self.stream, lambda g, i: self.mask(g, height, width, level[i]))[:, None]

    @abstractmethod
    def mask(self, g: Generator, height: int, width: int, acceleration: float) -> ndarray:
        """The mask of one image, (H or 1, W), frequency 0 at index 0."""


@dataclass(frozen=True)
class Columns(Sampling):
    """A mask of columns: the fully sampled centre, and others up to W / acceleration."""

    stream = "columns"
    axes = 1

    def mask(self, g: Generator, height: int, width: int, acceleration: float) -> ndarray:
        """(1, W): all rows of a column, or none."""
        frequency = np.fft.fftfreq(width, 1 / width)
        order = np.argsort(np.abs(frequency), kind="stable")
        inner = max(1, round(self.centre * width))
        total = max(inner, round(width / acceleration))
        outer = np.sort(order[inner:])
        mask = np.zeros(width)
        mask[order[:inner]] = 1
        mask[self._choose(g, outer, np.abs(frequency[outer]), total - inner)] = 1
        return mask[None]

    @abstractmethod
    def _choose(self, g: Generator, outer: ndarray, frequency: ndarray, count: int) -> ndarray:
        """`count` of the columns outside the centre, whose |frequency| is given."""


@dataclass(frozen=True)
class RandomColumns(Columns):
    """Columns outside the centre are sampled uniformly, without replacement.

    Source: Zbontar et al., fastMRI: an open dataset and benchmarks for accelerated MRI,
    arXiv:1811.08839 (2018), section 6.1; here their number is exact, not on average.
    """

    def _choose(self, g: Generator, outer: ndarray, frequency: ndarray, count: int) -> ndarray:
        return np.asarray(g.permutation(outer)[:count])


@dataclass(frozen=True)
class EquispacedColumns(Columns):
    """Columns outside the centre are evenly spaced, from a random offset."""

    def _choose(self, g: Generator, outer: ndarray, frequency: ndarray, count: int) -> ndarray:
        steps = (np.arange(count) + g.uniform()) * (len(outer) / max(count, 1))
        return np.asarray(outer[steps.astype(int)])


@dataclass(frozen=True)
class PoissonDiscColumns(Columns):
    """Columns outside the centre are sampled uniformly among the choices that keep a distance.

    The distance is half the largest at which all columns find a place, and one more: no two are
    neighbours while that can be, and the places are not yet those of an even grid.
    """

    def _choose(self, g: Generator, outer: ndarray, frequency: ndarray, count: int) -> ndarray:
        distance = 1 + (len(outer) - 1) // max(count - 1, 1) // 2 if count else 1
        # Places that keep a distance d are any places of a shorter row, spread by d - 1 each.
        room = len(outer) - (distance - 1) * max(count - 1, 0)
        places = np.sort(g.permutation(room)[:count])
        return np.asarray(outer[places + (distance - 1) * np.arange(count)])


@dataclass(frozen=True)
class VariableDensityColumns(Columns):
    """Columns outside the centre are sampled with weights (1 − |k| / k_max)^power + 1e-3.

    Args:
        power: how fast the density falls, ≥ 0; 0 is uniform.

    Source: Lustig, Donoho and Pauly, Sparse MRI: the application of compressed sensing for rapid
    MR imaging, Magnetic Resonance in Medicine 58 (2007), section on incoherent sampling. The 1e-3
    lets the highest frequency be sampled.
    """

    power: float = bounded(3.0, nonnegative)

    def _choose(self, g: Generator, outer: ndarray, frequency: ndarray, count: int) -> ndarray:
        if count == 0:
            return outer[:0]
        weights = (1 - frequency / frequency.max()) ** self.power + 1e-3
        return np.asarray(g.choice(outer, count, replace=False, p=weights / weights.sum()))


@dataclass(frozen=True)
class PlaneSampling(Sampling):
    """A mask of points: both axes are phase encodings of a scan in three dimensions.

    Args:
        acceleration: H · W over the points acquired, ≥ 1; a number, or a range from which every
            image samples its own value.
        centre: fraction of the rows and of the columns around frequency 0 whose points are all
            acquired, in (0, 1/√acceleration]; at least one point is.
    """

    stream = "points"
    axes = 2

    def mask(self, g: Generator, height: int, width: int, acceleration: float) -> ndarray:
        total = round(height * width / acceleration)
        inside = np.outer(_middle(height, self.centre), _middle(width, self.centre))
        mask = inside.astype(np.float64)
        mask.ravel()[self._choose(g, inside, max(0, total - int(inside.sum())))] = 1
        return np.asarray(np.fft.ifftshift(mask))

    @abstractmethod
    def _choose(self, g: Generator, inside: ndarray, count: int) -> ndarray:
        """`count` places in the table, row by row, outside the centre, which is `inside`."""


@dataclass(frozen=True)
class RadialPoints(PlaneSampling):
    """Points of the grid nearest to lines through frequency 0, turned by the golden angle.

    Lines are added, from a random angle, until H · W / acceleration points are acquired, counted
    with the centre; the last one is only begun, at its low frequencies.

    Source: Winkelmann et al., An optimal radial profile order based on the golden ratio for
    time-resolved MRI, TMI 26 (2007), for the angles.
    """

    def _choose(self, g: Generator, inside: ndarray, count: int) -> ndarray:
        height, width = inside.shape
        free, angle, found = ~inside.ravel(), g.uniform(0, np.pi), np.zeros(0, dtype=int)
        radius = np.arange(0, hypot(height, width) / 2 + 0.5, 0.5)
        r = np.stack((radius, -radius), 1).ravel()
        while len(found) < count:
            v = np.around(height // 2 + r * np.sin(angle)).astype(int)
            u = np.around(width // 2 + r * np.cos(angle)).astype(int)
            within = (v >= 0) & (v < height) & (u >= 0) & (u < width)
            line = v[within] * width + u[within]
            new = line[free[line]]
            new = new[np.sort(np.unique(new, return_index=True)[1])]  # outwards
            free[new] = False
            found = np.concatenate((found, new))
            angle += GOLDEN
        return found[:count]


@dataclass(frozen=True)
class PoissonDisc(PlaneSampling):
    """Points thrown at random, of which none is nearer than r(k) to an earlier one at k.

    r(k) = r₀ (1 + slope · |k| / k_max), so that the density falls outwards as 1 / r². r₀ shrinks
    while points are thrown, until H · W / acceleration are acquired, counted with the centre.

    Args:
        slope: how fast the distance grows, ≥ 0; 0 is uniform.

    Source: McCool and Fiume, Hierarchical Poisson disk sampling distributions, Graphics Interface
    1992, for the shrinking distance; Lustig and Pauly, SPIRiT: iterative self-consistent parallel
    imaging reconstruction from arbitrary k-space, Magnetic Resonance in Medicine 64 (2010), for
    its use.
    """

    slope: float = bounded(2.0, nonnegative)

    def _choose(self, g: Generator, inside: ndarray, count: int) -> ndarray:
        order = g.permutation(np.flatnonzero(~inside))
        return throw(order, 1 + self.slope * _radius(*inside.shape), count)


def throw(order: ndarray, growth: ndarray, count: int) -> ndarray:
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


DISTRIBUTIONS: tuple[type[Sampling], ...] = (
    *(RandomColumns, EquispacedColumns, PoissonDiscColumns, VariableDensityColumns),
    *(RadialPoints, PoissonDisc),
)
"""On which a network of any other one is tested."""


@lru_cache(maxsize=64)
def disc(reach: int, width: int) -> tuple[tuple[float, int], ...]:
    """How far the places around one are, and where in a table of this width; nearest first."""
    side = range(-reach, reach + 1)
    near = ((hypot(v, u), v * width + u) for v in side for u in side)
    return tuple(sorted(pair for pair in near if pair[0] <= reach))


def _middle(size: int, fraction: float) -> ndarray:
    """Which of the frequencies of a side, 0 in the middle, are nearest to 0: at least one."""
    order = np.argsort(np.abs(_frequencies(size)), kind="stable")
    inside = np.zeros(size, dtype=bool)
    inside[order[: max(1, round(fraction * size))]] = True
    return inside


def _radius(height: int, width: int) -> ndarray:
    """|k| over its largest value, (H, W), 0 in the middle."""
    v, u = (2 * _frequencies(size) / size for size in (height, width))
    k = np.hypot(v[:, None], u)
    return np.asarray(k / max(float(k.max()), 1e-9))


def _frequencies(size: int) -> ndarray:
    return np.asarray(np.fft.fftshift(np.fft.fftfreq(size, 1 / size)))
