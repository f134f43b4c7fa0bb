"""Line integrals of an image as one sparse matrix, with its exact transpose.

Along a ray there is one sample per row, or per column where the ray is flatter, by linear
interpolation between the two nearest pixels, times the length of the ray from row to row.

Source: Joseph, An improved algorithm for reprojecting rays through pixel images, IEEE Trans.
Medical Imaging 1 (1982).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared, bounded, whole
from unfold.physics.sparse import BLOCK, Entries, Matrix, multiply, stacked
from unfold.typing import Shape

Kind = tuple[torch.dtype, torch.device]

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of the pixels in line integrals, as (line, pixel, value)."""

MOST = 2**26
"""Entries of a matrix of back-projection; each takes 8 bytes in single precision."""

LEAST = 1e-2
"""The least power of the convolution that approximates MᵀM, relative to its largest."""


class Rays(NamedTuple):
    """Straight lines: a point of each and its direction, (n, 2), as (column, row) in pixels.

    The origin is the centre of the image.
    """

    point: np.ndarray
    direction: np.ndarray


class PixelRays(NamedTuple):
    """The rays through pixels at every angle, (angles, pixels): the detector, and a weight.

    place: of the ray through the pixel, in detectors from the first one.
    weight: of what it measured, in a back-projection.
    """

    place: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Geometry(Declared, ABC):
    """Which lines a scanner integrates along: a value, so that its matrix is computed once.

    Args:
        angles: in degrees, at least one.
        detectors: how many, at least 1.
        projector: other weights of the pixels than those of `joseph`.
    """

    angles: tuple[float, ...]
    detectors: int = bounded(accepted=whole(1))
    projector: "Weighting | None" = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.angles or not np.isfinite(self.angles).all():
            raise ConfigError(
                f"{type(self).__name__}.angles = {list(self.angles)}: at least one is needed, in "
                "degrees."
            )

    @property
    def size(self) -> tuple[int, int]:
        """(angles, detectors)."""
        return len(self.angles), self.detectors

    @property
    def theta(self) -> np.ndarray:
        """The angles in radians, (angles, 1)."""
        return np.asarray(np.deg2rad(np.asarray(self.angles))[:, None])

    @property
    def offsets(self) -> np.ndarray:
        """The detectors from the middle one, in detectors."""
        return np.arange(self.detectors) - (self.detectors - 1) / 2

    @abstractmethod
    def lines(self) -> Rays:
        """One line for each detector of each angle, angle by angle."""

    full_arc: ClassVar[float]
    """The degrees over which every line is measured, and after which they repeat."""

    @abstractmethod
    def pixel_rays(self, column: np.ndarray, row: np.ndarray) -> PixelRays:
        """The rays through pixels, given in pixels from the centre."""

    @abstractmethod
    def gains(self) -> np.ndarray:
        """What the readings of each detector are multiplied by before they are filtered."""

    def weights(self, height: int, width: int) -> Weights:
        """How much every pixel counts in every line integral."""
        if self.projector is not None:
            return self.projector.weights(self, height, width)
        return joseph(self.lines(), height, width)

    def back_project(self, y: Tensor, shape: Shape) -> Tensor:
        """(B, H · W): to every pixel the readings of the rays through it, of (B, angles · D).

        By a matrix that is made once; angle by angle where it would take more than 0.5 GiB.
        """
        size, pixels = shape[1:], prod(shape[1:])
        if 2 * len(self.angles) * pixels <= MOST:
            return multiply(_back_matrix(self, size, _kind(y)), y)
        x, views = y.new_zeros(len(y), pixels), y.reshape(len(y), -1, self.detectors).unbind(1)
        for angle, view in zip(self.angles, views, strict=True):
            one = replace(self, angles=(angle,))
            for index, share, inside in _shares(one, size, np.arange(pixels)):
                weight = torch.from_numpy(np.where(inside, share, 0)[0]).to(y.device, _kind(y)[0])
                x = x + weight * view[:, torch.from_numpy(index[0].clip(0, self.detectors - 1))]
        return x

    def matrix(self, shape: Shape, like: Tensor) -> Matrix:
        """The weights of the pixels in every line integral, in the precision of `like`."""
        return _matrix(self, shape[1:], _kind(like))

    def spectrum(self, shape: Shape, like: Tensor) -> Tensor:
        """(H, W): the periodic convolution nearest to MᵀM, M the matrix, at the middle pixel.

        What MᵀM makes of that pixel, transformed; its real part, so that the convolution is
        symmetric, and at least a hundredth of the largest. Smaller values say little of MᵀM, which
        is no convolution, and cost iterations where γ is large.
        """
        return _spectrum(self, shape[1:], _kind(like))


class Weighting(ABC):
    """Weights of pixels in line integrals; a value, as a geometry is."""

    @abstractmethod
    def weights(self, geometry: Geometry, height: int, width: int) -> Weights:
        """Those of the lines of a geometry."""


def _kind(like: Tensor) -> Kind:
    return like.dtype.to_real(), like.device


@lru_cache(maxsize=8)
def _spectrum(geometry: Geometry, size: Shape, kind: Kind) -> Tensor:
    height, width = size
    middle = (height // 2, width // 2)
    with torch.inference_mode(False), torch.no_grad():
        point = torch.zeros(size, dtype=kind[0], device=kind[1])
        point[middle] = 1
        matrix = _matrix(geometry, size, kind)
        response = multiply(matrix.swapped, multiply(matrix, point.reshape(1, -1)))
        response = response.reshape(height, width).roll((-middle[0], -middle[1]), (0, 1))
        spectrum: Tensor = torch.fft.fft2(response).real
        return spectrum.maximum(LEAST * spectrum.max())


@lru_cache(maxsize=8)
def _matrix(geometry: Geometry, size: Shape, kind: Kind) -> Matrix:
    several = max(1, BLOCK // (2 * geometry.detectors * max(size)))

    def parts() -> Iterator[Entries]:
        for k in range(0, len(geometry.angles), several):
            part = replace(geometry, angles=geometry.angles[k : k + several])
            yield Entries(*part.weights(*size), (prod(part.size), prod(size)))

    return stacked(parts(), *kind)


@lru_cache(maxsize=8)
def _back_matrix(geometry: Geometry, size: Shape, kind: Kind) -> Matrix:
    count = prod(size)

    def parts() -> Iterator[Entries]:
        for some in np.array_split(np.arange(count), 1 + 2 * len(geometry.angles) * count // BLOCK):
            parts = []
            for index, share, inside in _shares(geometry, size, some):
                pixel, angle = np.nonzero(inside.T)
                reading = angle * geometry.detectors + index[angle, pixel]
                parts.append((pixel, reading, share[angle, pixel]))
            pixel, reading, value = (np.concatenate(part) for part in zip(*parts, strict=True))
            yield Entries(pixel, reading, value, (len(some), prod(geometry.size)))

    return stacked(parts(), *kind)


def _shares(
    geometry: Geometry, size: Shape, pixels: np.ndarray
) -> Iterator[tuple[np.ndarray, ...]]:
    """Of pixels at every angle: two detectors, their weights, and whether they exist."""
    height, width = size
    row, column = np.divmod(pixels, width)
    place, weight = geometry.pixel_rays(column - (width - 1) / 2, row - (height - 1) / 2)
    for index, share, inside in _neighbours(place, geometry.detectors):
        yield index, share * weight, inside


def _neighbours(place: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, ...]]:
    """The whole numbers around each place, their linear weights, and which are in [0, count)."""
    below = np.floor(place).astype(np.int64)
    for index, share in ((below, below + 1 - place), (below + 1, place - below)):
        yield index, share, (index >= 0) & (index < count) & (share > 0)


def joseph(lines: Rays, height: int, width: int) -> Weights:
    """Joseph's weights as (line, pixel, value)."""
    steep = np.abs(lines.direction[:, 1]) >= np.abs(lines.direction[:, 0])
    found = [
        _along(lines, np.flatnonzero(steep), 1, (height, width)),
        _along(lines, np.flatnonzero(~steep), 0, (height, width)),
    ]
    line, pixel, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return line, pixel, value


def _along(lines: Rays, chosen: np.ndarray, major: int, shape: tuple[int, int]) -> Weights:
    """The weights of the lines that cross every row (`major` 1) or every column (0)."""
    height, width = shape
    steps, across = (height, width) if major == 1 else (width, height)
    point, direction = lines.point[chosen], lines.direction[chosen]
    slope = direction[:, 1 - major] / direction[:, major]
    at = np.arange(steps) - (steps - 1) / 2
    place = point[:, 1 - major, None] + (at - point[:, major, None]) * slope[:, None]
    place = place + (across - 1) / 2
    length = np.sqrt(1 + slope**2)[:, None]
    parts = []
    for index, share, inside in _neighbours(place, across):
        which, step = np.nonzero(inside)
        there = index[inside]
        pixel = step * width + there if major == 1 else there * width + step
        parts.append((chosen[which], pixel, (share * length)[inside]))
    line, pixel, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return line, pixel, value
