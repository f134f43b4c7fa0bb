"""Tomography: line integrals of the image are measured."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.parameters.bounds import above, bounded, finite, inside, positive, whole
from unfold.physics.base import StatedShape
from unfold.physics.ct.projector import Fan, Parallel, Projector, diagonal, projector
from unfold.physics.ct.rays import Geometry
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class Scan(StatedShape, ABC):
    """Line integrals along one set of rays, the same for every image.

    Args:
        noise: added to the integrals.
        detectors: how many at each angle; None for those that cover the diagonal of the image. They
            are one pixel apart for parallel rays, and cover the diagonal of a fan's image.
    """

    detectors: int | None = bounded(None, whole(1), kw_only=True)

    is_deterministic = True

    def also(self, measurement_shape: Shape) -> str:
        count = self.detectors or measurement_shape[-1]
        return f", and detectors where they are not as many as its diagonal (here {count})"

    def sample(self, draws: Draws, shape: Shape) -> Projector:
        return projector(self.geometry(shape), shape, 1 / max(shape[1:]))

    @abstractmethod
    def geometry(self, shape: Shape) -> Geometry:
        """The rays; the detectors cover an image."""


@dataclass(frozen=True)
class ParallelScan(Scan, ABC):
    """Parallel rays at the angles first + k · arc / angles, k = 0, 1, and so on.

    Args:
        angles: how many, at least 1.
        arc: what they cover, in degrees, in (0, 180].
        first: of the first angle, in degrees.
    """

    angles: int = bounded(60, whole(1))
    arc: float = bounded(180.0, inside("(0, 180]"), "in degrees")
    first: float = bounded(0.0, finite, "in degrees")

    def geometry(self, shape: Shape) -> Parallel:
        directions = (self.first + k * self.arc / self.angles for k in range(self.angles))
        return Parallel(tuple(directions), self.detectors or diagonal(shape))


@dataclass(frozen=True)
class FanScan(Scan, ABC):
    """A fan of rays from a point source that turns about the image.

    Args:
        angles: positions of the source, at least 1.
        arc: what they cover, in degrees, in (0, 360].
        source: distance from the source to the centre, above 1/√2: outside the image.
        screen: distance from the centre to the detectors, positive.
    """

    angles: int = bounded(60, whole(1))
    arc: float = bounded(360.0, inside("(0, 360]"), "in degrees")
    source: float = bounded(2.0, above(0.5**0.5), "in sides of the image")
    screen: float = bounded(1.0, positive, "in sides of the image")

    def geometry(self, shape: Shape) -> Fan:
        side, count = max(shape[1:]), self.detectors or diagonal(shape)
        source, radius = self.source * side, (diagonal(shape) + 1) / 2
        reach = (source + self.screen * side) * radius / (source**2 - radius**2) ** 0.5
        directions = tuple(k * self.arc / self.angles for k in range(self.angles))
        return Fan(directions, count, 2 * reach / count, source, self.screen * side)


@dataclass(frozen=True)
class Tomography(ParallelScan):
    """y = line integrals along parallel rays with noise, from equally spaced angles.

    The longer side of the image has length 1, so that an integral is at most √2 for images in
    [0, 1]. Few angles are sparse-view, an arc below 180 degrees limited-angle tomography.
    """


@dataclass(frozen=True)
class FanBeamTomography(FanScan):
    """y = line integrals from a point source that turns about the image, with noise.

    Lengths are relative to the longer side of the image, as are the integrals.
    """
