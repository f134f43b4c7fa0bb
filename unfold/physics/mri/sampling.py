"""Which part of the Fourier plane a scanner acquires."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unfold.errors import ConfigError
from unfold.physics.noise.base import Level, checked, is_number, sample_level
from unfold.random import Draws


@dataclass(frozen=True)
class Sampling(ABC):
    """The law of a mask over the Fourier plane; a fixed mask is a law with one point."""

    @property
    @abstractmethod
    def is_deterministic(self) -> bool:
        """Whether every draw gives the same mask."""

    @abstractmethod
    def draw(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, 1, H or 1, W), of zeros and ones, frequency 0 at index 0; (1, …) if fixed."""


@dataclass(frozen=True)
class Columns(Sampling):
    """The law of a mask of columns: the fully sampled centre, and others up to W / acceleration.

    Args:
        acceleration: W over the number of columns acquired, ≥ 1; a number, or a range of which
            every image draws its own value.
        centre: fraction of the columns around frequency 0 that are always acquired, in (0, 1]; at
            least one column is.

    Raises:
        ConfigError: a value is out of its range, or the centre alone exceeds what is acquired.
    """

    acceleration: Level = 4.0
    centre: float = 0.08

    def __post_init__(self) -> None:
        name = type(self).__name__
        words = "must be at least 1, columns of the image over columns acquired"
        value = checked(f"{name}.acceleration", self.acceleration, lambda a: a >= 1, words)
        object.__setattr__(self, "acceleration", value)
        highest = value if isinstance(value, float) else value[1]
        if not 0 < self.centre <= 1 / highest:
            raise ConfigError(
                f"{name}.centre = {self.centre}: must be in (0, {1 / highest:.4g}], the fraction "
                f"of all columns that an acceleration of {highest:g} acquires."
            )

    @property
    def is_deterministic(self) -> bool:
        """Only where all columns are acquired."""
        return is_number(self.acceleration) and self.acceleration == 1

    def draw(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, 1, 1, W): all rows of a column, or none."""
        draws = draws.take([0]) if self.is_deterministic else draws
        level = sample_level(self.acceleration, draws.within("level"), "acceleration")
        own = level.tolist() if isinstance(level, Tensor) else [level] * len(draws)

        def columns(g: np.random.Generator, position: int) -> np.ndarray:
            return self._mask(g, width, own[position])

        return draws.each("columns", columns)[:, None, None]

    def _mask(self, g: np.random.Generator, width: int, acceleration: float) -> np.ndarray:
        frequency = np.fft.fftfreq(width, 1 / width)
        order = np.argsort(np.abs(frequency), kind="stable")
        inner = max(1, round(self.centre * width))
        total = max(inner, round(width / acceleration))
        outer = np.sort(order[inner:])
        mask = np.zeros(width)
        mask[order[:inner]] = 1
        mask[self._choose(g, outer, np.abs(frequency[outer]), total - inner)] = 1
        return mask

    @abstractmethod
    def _choose(
        self, g: np.random.Generator, outer: np.ndarray, frequency: np.ndarray, count: int
    ) -> np.ndarray:
        """`count` of the columns outside the centre, whose |frequency| is given."""


@dataclass(frozen=True)
class RandomColumns(Columns):
    """Columns outside the centre are drawn uniformly, without replacement.

    Source: Zbontar et al., fastMRI: an open dataset and benchmarks for accelerated MRI,
    arXiv:1811.08839 (2018), section 6.1; here their number is exact, not on average.
    """

    def _choose(
        self, g: np.random.Generator, outer: np.ndarray, frequency: np.ndarray, count: int
    ) -> np.ndarray:
        return np.asarray(g.permutation(outer)[:count])


@dataclass(frozen=True)
class EquispacedColumns(Columns):
    """Columns outside the centre are evenly spaced, from an offset that is drawn."""

    def _choose(
        self, g: np.random.Generator, outer: np.ndarray, frequency: np.ndarray, count: int
    ) -> np.ndarray:
        steps = (np.arange(count) + g.uniform()) * (len(outer) / max(count, 1))
        return np.asarray(outer[steps.astype(int)])


@dataclass(frozen=True)
class PoissonDiscColumns(Columns):
    """Columns outside the centre are drawn uniformly among the choices that keep a distance.

    The distance is half the largest at which all columns find a place, and one more: no two are
    neighbours while that can be, and the places are not yet those of an even grid.
    """

    def _choose(
        self, g: np.random.Generator, outer: np.ndarray, frequency: np.ndarray, count: int
    ) -> np.ndarray:
        distance = 1 + (len(outer) - 1) // max(count - 1, 1) // 2 if count else 1
        # Places that keep a distance d are any places of a shorter row, drawn apart by d - 1.
        room = len(outer) - (distance - 1) * max(count - 1, 0)
        places = np.sort(g.permutation(room)[:count])
        return np.asarray(outer[places + (distance - 1) * np.arange(count)])


@dataclass(frozen=True)
class VariableDensityColumns(Columns):
    """Columns outside the centre are drawn with weights (1 − |k| / k_max)^power + 1e-3.

    Args:
        acceleration: as of `Columns`.
        centre: as of `Columns`.
        power: how fast the density falls, ≥ 0; 0 is uniform.

    Source: Lustig, Donoho and Pauly, Sparse MRI: the application of compressed sensing for rapid
    MR imaging, Magnetic Resonance in Medicine 58 (2007), section on incoherent sampling. The 1e-3
    lets the highest frequency be drawn.
    """

    power: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.power < float("inf"):
            raise ConfigError(
                f"VariableDensityColumns.power = {self.power}: must be zero or positive."
            )

    def _choose(
        self, g: np.random.Generator, outer: np.ndarray, frequency: np.ndarray, count: int
    ) -> np.ndarray:
        if count == 0:
            return outer[:0]
        weights = (1 - frequency / frequency.max()) ** self.power + 1e-3
        return np.asarray(g.choice(outer, count, replace=False, p=weights / weights.sum()))
