"""Measured projections of tomography: `data=sinogram`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from unfold.data.example import Example
from unfold.data.measured import MeasuredData
from unfold.data.normalize import ONE_CHANNEL, divisors, scaled, size_of
from unfold.data.readers.sinogram import READ, find_axis, line_integrals, read_projections
from unfold.errors import DataError
from unfold.parameters.bounds import bounded, finite, whole
from unfold.physics.ct.projector import Parallel, projector


class Rows(NamedTuple):
    """The line integrals of a file, (S, V, D), their angles in degrees, and the axis."""

    values: np.ndarray
    angles: np.ndarray
    axis: float


@dataclass(frozen=True, eq=False, kw_only=True)
class SinogramData(MeasuredData):
    """Projections that scanners measured along parallel rays, row by row.

    An example has the line integrals y, (1, V, D), the angles, the axis of rotation, and the image,
    the filtered back-projection of all V views. A pixel is as wide as a detector.

    Args:
        rows: [first, last + 1] of the rows of detectors that are read; None for all.
        size: H = W of the images, in pixels; None for the number of detectors.
        bin: neighbouring detectors that are averaged to one.
        angles: [first, last] in degrees, evenly spaced, both views included; None for those of the
            file. A view half a turn after the first repeats it, and is only used to find the axis.
        axis: where the axis of rotation is seen, in detectors from the middle (D − 1)/2, before
            `bin`; or `find`, by two views half a turn apart.
        flats: a file of counts without an object, where the files have none.
        darks: a file of counts without a beam, where the files have none.
        normalize: what an example is divided by: a number, `none`, or of the image of all views
            the `max` or the 99 % `percentile`.
    """

    channels: int = bounded(1, ONE_CHANNEL)
    rows: tuple[int, int] | None = bounded(None, whole(0))
    size: int | None = bounded(None, whole(1), "in pixels")
    bin: int = bounded(1, whole(1), "in detectors")
    angles: tuple[float, float] | None = bounded(None, finite, "in degrees")
    axis: float | Literal["find"] = 0.0
    flats: str | None = None
    darks: str | None = None
    normalize: float | Literal["none", "max", "percentile"] = bounded(
        "percentile", divisors("none", "max", "percentile")
    )

    suffixes = READ
    reference = "filtered back-projection of all views"
    depends = ("rows", "size", "bin", "angles", "axis", "flats", "darks")

    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        rows = self._rows(path)
        count, views, detectors = rows.values.shape
        side = self.size or detectors
        shapes: dict[str, tuple[int, ...]] = {
            "image": (1, side, side),
            "measurement": (1, views, detectors),
        }
        shapes |= {"angles": (views,), "axis": ()}
        return [tuple((name, *shape) for name, shape in shapes.items())] * count

    def read(self, path: Path, place: int) -> Example:
        rows = self._rows(path)
        y = torch.from_numpy(rows.values[place])[None]
        geometry = Parallel(tuple(rows.angles.tolist()), y.shape[-1], rows.axis)
        side = self.size or y.shape[-1]
        scan = projector(geometry, (1, side, side), 1 / side)
        y = y / side  # an integral over a detector's width, of images whose side is 1
        image = scan.filtered_back_projection(y[None])[0]
        parameters = {"angles": torch.from_numpy(rows.angles), "axis": torch.tensor(rows.axis)}
        row = place + (self.rows or (0,))[0]
        example = Example(image, y, parameters, {"file": str(path), "row": row})
        return scaled(example, size_of(image, self.normalize))

    def _rows(self, path: Path) -> Rows:
        return self.opened(path, self._processed, lambda rows: rows.values.nbytes)

    def _processed(self, path: Path) -> Rows:
        found = read_projections(path, self.flats, self.darks, slice(*(self.rows or (None,))))
        values = line_integrals(path, found)
        angles = self._angles(path, found.angles, values.shape[1])
        axis = find_axis(values.mean(0), angles) if self.axis == "find" else float(self.axis)
        # The last view of half a turn, both ends included, is the first one reversed.
        if len(angles) > 2 and abs(abs(angles[-1] - angles[0]) - 180) < 1e-3:
            values, angles = values[:, :-1], angles[:-1]
        if self.bin > 1:
            kept = values.shape[-1] // self.bin * self.bin
            values = values[..., :kept].reshape(*values.shape[:2], -1, self.bin).mean(-1)
            # The middle moves by what is left out at the end, and a detector is wider.
            axis = (axis + (found.values.shape[-1] - kept) / 2) / self.bin
            values = values / self.bin  # integrals in the width of the new detectors
        return Rows(np.ascontiguousarray(values), angles, axis)

    def _angles(self, path: Path, stored: np.ndarray | None, views: int) -> np.ndarray:
        if self.angles is not None:
            return np.linspace(*self.angles, views)
        if stored is None:
            raise DataError(
                f"{path}: states no angles, and has {views} views; give data.angles=[first, last] "
                "in degrees."
            )
        if len(stored) != views:
            raise DataError(f"{path}: {len(stored)} angles for {views} views.")
        span = float(np.ptp(stored))
        if views > 8 and span <= 2 * np.pi + 0.1:
            raise DataError(
                f"{path}: {views} angles span {span:.4g}; degrees are expected, and these look "
                f"like radians. Give data.angles=[{np.rad2deg(stored[0]):g}, "
                f"{np.rad2deg(stored[-1]):g}]."
            )
        return stored
