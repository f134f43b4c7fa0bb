"""Tomography: line integrals of the image are measured."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import Range, above, bounded, finite, inside, positive, whole
from unfold.physics.base import DATA, Examples, StatedShape, Taken
from unfold.physics.ct.projector import Fan, Parallel, Projector, diagonal, projector
from unfold.physics.ct.rays import Geometry
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Field, Measurement, Shape

S = TypeVar("S", bound="ParallelScan")


def _is_angles(value: object) -> bool:
    return value == DATA or whole(1).holds(value)


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

    Of a full measured scan, the views of this one are taken.

    Args:
        angles: how many, at least 1; or the word `data`, for those of a measured scan.
        arc: what they cover, in degrees, in (0, 180]; not of measured angles.
        first: of the first angle, in degrees; not of measured angles.
        views: how many of the angles are measured, evenly spaced from the first; None for all.
        axis: where the axis of rotation is seen, in detectors from the middle of the row.
    """

    angles: int | str = bounded(60, Range("data or a whole number of at least 1", _is_angles))
    arc: float = bounded(180.0, inside("(0, 180]"), "in degrees")
    first: float = bounded(0.0, finite, "in degrees")
    views: int | None = bounded(None, whole(1), "of the angles", kw_only=True)
    axis: float = bounded(0.0, finite, "in detectors", kw_only=True)
    measured: tuple[float, ...] = field(default=(), kw_only=True, repr=False)

    from_data: ClassVar[Taken] = {"angles": lambda angles: angles.shape[1]}

    def given(self: S, examples: Examples) -> S:
        """With the angles, the axis and the detectors of a measured scan."""
        physics, parameters = super().given(examples), examples.parameters
        if self.angles != DATA:
            return physics
        scan: dict[str, Any] = {"measured": _same("angles", parameters["angles"])}
        if "axis" in parameters:
            scan["axis"] = _same("axis", parameters["axis"][:, None])[0]
        if examples.measurement is not None:
            scan["detectors"] = examples.measurement.shape[-1]
        return replace(physics, **scan)

    def prospective(self: S, examples: Examples, stated: Collection[str] = ()) -> S:
        """Of a scan that knows its angles, all views are taken."""
        every = "angles" in examples.parameters and "views" not in stated
        physics = replace(self, views=None) if every else self
        return super(ParallelScan, physics).prospective(examples, stated)

    @property
    def seen(self) -> list[int]:
        """Which of the angles are measured."""
        if not isinstance(self.angles, int):
            raise self.without("angles")
        count = self.angles if self.views is None else self.views
        if count > self.angles:
            raise ConfigError(
                f"{type(self).__name__}.views = {count}: must be at most its {self.angles} angles."
            )
        return [k * self.angles // count for k in range(count)]

    def geometry(self, shape: Shape) -> Parallel:
        step = self.arc / self.angles if isinstance(self.angles, int) else 0.0
        directions = [
            self.measured[k] if self.measured else self.first + k * step for k in self.seen
        ]
        return Parallel(tuple(directions), self.detectors or diagonal(shape), self.axis)

    def restrict(self, y: Field, operator: Operator) -> Measurement:
        """The measured views of a full scan, (B, C, angles, detectors)."""
        return super().restrict(y[:, :, self.seen] if y.ndim == 4 else y, operator)


def _same(name: str, values: Tensor) -> tuple[float, ...]:
    """The numbers that the scans of a batch share."""
    if not bool((values == values[:1]).all()):
        raise ShapeError(
            f"the scans of a batch have different {name}: set batch_size=1 and "
            "evaluation_batch_size=1."
        )
    return tuple(values[0].double().tolist())


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
