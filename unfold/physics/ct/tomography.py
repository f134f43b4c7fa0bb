"""Tomography: line integrals of the image are measured."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import above, bounded, finite, inside, positive, whole
from unfold.parameters.constraints import real
from unfold.parameters.declare import Learnable
from unfold.physics.algebra import Composed
from unfold.physics.base import Examples, StatedShape
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.ct.projector import Fan, Parallel, diagonal, projector
from unfold.physics.ct.rays import Geometry
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Field, Measurement, Shape

S = TypeVar("S", bound="ParallelScan")

ANGLES = 60
"""How many where neither a user nor a measured scan states them."""


@dataclass(frozen=True)
class Scan(StatedShape, ABC):
    """Line integrals along one set of rays, the same for every image.

    Args:
        noise: added to the integrals.
        detectors: how many at each angle; None for those that cover the diagonal of the image. They
            are one pixel apart for parallel rays, and cover the diagonal of a fan's image.
        side: length of the longer side of the image, which every integral is proportional to.
    """

    detectors: int | None = bounded(None, whole(1), kw_only=True)
    side: float = bounded(1.0, positive, kw_only=True)

    is_deterministic = True
    varied, baselines = ("angles",), ("linear", "tv")

    def also(self, measurement_shape: Shape) -> str:
        count = self.detectors or measurement_shape[-1]
        return f", and detectors where they are not as many as its diagonal (here {count})"

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        return projector(self.geometry(shape), shape, self.side / max(shape[1:]))

    @abstractmethod
    def geometry(self, shape: Shape) -> Geometry:
        """The rays; the detectors cover an image."""


@dataclass(frozen=True)
class ParallelScan(Scan, ABC):
    """Parallel rays at the angles first + k · arc / angles, k = 0, 1, and so on.

    Of a measured scan, which states its angles, the views of this one are taken.

    Args:
        angles: how many, at least 1; None for those of a measured scan, or 60 where none is.
        arc: what they cover, in degrees, in (0, 180]; not of a measured scan.
        first: of the first angle, in degrees; not of a measured scan.
        views: how many of the angles are measured, evenly spaced from the first; None for all.
        axis: where the axis of rotation is seen, in detectors from the middle of the row.
        moved: where it is instead while it is learned, ().
    """

    angles: int | None = bounded(None, whole(1))
    arc: float = bounded(180.0, inside("(0, 180]"), "in degrees")
    first: float = bounded(0.0, finite, "in degrees")
    views: int | None = bounded(None, whole(1), "of the angles", kw_only=True)
    axis: float = bounded(0.0, finite, "in detectors", kw_only=True)
    measured: tuple[float, ...] = field(default=(), kw_only=True, repr=False)
    moved: Tensor | None = field(default=None, kw_only=True, repr=False)

    learnable: ClassVar[Mapping[str, Learnable]] = {
        "axis": Learnable(
            real, lambda own: torch.tensor(own.axis), "", lambda own, c: replace(own, moved=c)
        )
    }

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        """Where the axis moves: rays within 1/32 of a detector, by quadratic interpolation."""
        if self.moved is None:
            return super().sample(draws, shape)
        near = round(16 * float(self.moved.detach())) / 16
        rays = replace(self, axis=near, moved=None).sample(draws, shape)
        s = self.moved.to(draws.device, draws.dtype) - near
        h = torch.stack([(s**2 - s) / 2, 1 - s**2, (s**2 + s) / 2])[None, None, None]
        return Composed(CircularConvolution(h, rays.measurement_shape), rays)

    on_host = ("angles", "axis")

    def variants(self: S) -> Mapping[str, S]:
        known = replace(self, angles=len(self.directions)) if not self.measured else self
        return super(ParallelScan, known).variants()

    def given(self: S, examples: Examples) -> S:
        """With the angles, the axis and the detectors of a measured scan."""
        physics, parameters = super().given(examples), examples.parameters
        if "angles" not in parameters:
            return physics
        found = _same("angles", parameters["angles"])
        if self.angles not in (None, len(found)):
            raise ConfigError(
                f"{type(self).__name__}.angles = {self.angles}: the measured scan has {len(found)};"
                " leave it out, and set views to take fewer."
            )
        scan: dict[str, Any] = {"measured": found}
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
    def directions(self) -> list[float]:
        """All angles in degrees, of which some may be left out."""
        count = ANGLES if self.angles is None else self.angles
        return list(self.measured) or [self.first + k * self.arc / count for k in range(count)]

    @property
    def seen(self) -> list[int]:
        """Which of the angles are measured."""
        every = len(self.directions)
        count = every if self.views is None else self.views
        if count > every:
            raise ConfigError(
                f"{type(self).__name__}.views = {count}: must be at most its {every} angles."
            )
        return [k * every // count for k in range(count)]

    def geometry(self, shape: Shape) -> Parallel:
        directions = tuple(self.directions[k] for k in self.seen)
        return Parallel(directions, self.detectors or diagonal(shape), self.axis)

    def restrict(self, y: Field, operator: Operator) -> Measurement:
        """The measured views of a full scan, (B, C, angles, detectors)."""
        views = torch.tensor(self.seen).to(y.device, non_blocking=True)
        return super().restrict(y.index_select(2, views) if y.ndim == 4 else y, operator)


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

    An integral is at most √2 for images in [0, 1] whose longer side has length 1. Few angles are
    sparse-view, an arc below 180 degrees limited-angle tomography.
    """


@dataclass(frozen=True)
class FanBeamTomography(FanScan):
    """y = line integrals from a point source that turns about the image, with noise.

    Lengths are relative to the longer side of the image, as are the integrals.
    """
