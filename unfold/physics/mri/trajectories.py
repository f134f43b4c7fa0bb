"""The paths through the Fourier plane along which a scanner measures."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unfold.parameters.bounds import Declared, bounded, positive, whole
from unfold.random import Draws

GOLDEN = np.pi * (np.sqrt(5) - 1) / 2
"""111.25 degrees, half a turn over the golden ratio: every number of spokes is spread evenly."""


@dataclass(frozen=True)
class Trajectory(Declared, ABC):
    """The distribution of the points of a scan; every image rotates them by its own angle."""

    @abstractmethod
    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, M, 2): cycles per pixel, down and across, in [−½, ½]."""


@dataclass(frozen=True)
class Spokes(Trajectory):
    """k = t (sin θ_j, cos θ_j), t evenly spaced in [−½, ½): lines through frequency 0.

    Args:
        spokes: how many, at least 1; π/2 times the side measure the disc as densely as a grid.
        oversampling: points of a spoke over the longer side of the image, positive.
    """

    spokes: int = bounded(32, whole(1))
    oversampling: float = bounded(2.0, positive)

    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        """All points of the first spoke, then those of the second."""
        count = max(1, round(self.oversampling * max(height, width)))
        t = (np.arange(count) - count // 2) / count

        def points(g: np.random.Generator, _: int) -> np.ndarray:
            angles = g.uniform(0, 2 * np.pi) + self._step() * np.arange(self.spokes)
            return along(np.tile(t, (self.spokes, 1)), angles[:, None])

        return draws.each("turn", points)

    @abstractmethod
    def _step(self) -> float:
        """The angle from one spoke to the next, in radians."""


@dataclass(frozen=True)
class GoldenAngleSpokes(Spokes):
    """θ_j = θ_0 + j · 111.25°.

    Source: Winkelmann, Schaeffter, Koehler, Eggers and Doessel, An optimal radial profile order
    based on the golden ratio for time-resolved MRI, IEEE Trans. Medical Imaging 26 (2007).
    """

    def _step(self) -> float:
        return float(GOLDEN)


@dataclass(frozen=True)
class UniformSpokes(Spokes):
    """θ_j = θ_0 + j · 180° / spokes."""

    def _step(self) -> float:
        return float(np.pi / self.spokes)


@dataclass(frozen=True)
class Spiral(Trajectory):
    """k = ½ t (sin θ, cos θ), θ = θ_j + 2π · turns · t, t evenly spaced in [0, 1), for each arm j.

    Args:
        arms: how many, evenly turned about frequency 0, at least 1.
        turns: of one arm, positive; arms times turns of half the side are as dense as a grid.
        oversampling: of the outermost turn over a grid, positive.

    Source: Ahn, Kim and Cho, High-speed spiral-scan echo planar NMR imaging, IEEE Trans. Medical
    Imaging 5 (1986), for the curve.
    """

    arms: int = bounded(8, whole(1))
    turns: float = bounded(2.0, positive)
    oversampling: float = bounded(2.0, positive)

    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        """All points of the first arm, then those of the second."""
        count = max(1, round(self.oversampling * np.pi * self.turns * max(height, width)))
        t = np.arange(count) / count

        def points(g: np.random.Generator, _: int) -> np.ndarray:
            first = g.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(self.arms) / self.arms
            angles = first[:, None] + 2 * np.pi * self.turns * t
            return along(np.tile(t / 2, (self.arms, 1)), angles)

        return draws.each("turn", points)


def along(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """(M, 2): r (sin θ, cos θ), row by row."""
    both = np.stack([radius * np.sin(angle), radius * np.cos(angle)], -1)
    return np.asarray(both.reshape(-1, 2))
