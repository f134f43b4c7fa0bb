"""Projections of an image along lines, and the images behind them by filtered back-projection."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, hypot, prod

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import bounded, finite, positive
from unfold.physics.ct.rays import Geometry, PixelRays, Rays
from unfold.physics.operator import LinearBaseline, LinearOperator
from unfold.physics.sparse import multiply
from unfold.typing import Image, Measurement, Scalar, Shape

COMPLETE = {
    180.0: "parallel rays over at most half a turn, or a multiple of half a turn",
    360.0: "a fan whose source makes a full turn",
}
"""The scans that can be filtered, by the degrees after which rays repeat."""


def ramp_filtered(y: Tensor) -> Tensor:
    """Q * y over the last dimension: q(0) = 1/4, −1/(πn)² for odd n, 0 for even n ≠ 0."""
    count = y.shape[-1]
    size = 2 ** ceil(np.log2(2 * count))
    n = np.fft.fftfreq(size, 1 / size)
    q = np.where(n % 2 == 1, -1 / (np.pi * np.where(n == 0, 1, n)) ** 2, 0)
    q[0] = 0.25
    gain = torch.from_numpy(np.fft.fft(q).real).to(y.device, y.dtype.to_real())
    filtered: Tensor = torch.fft.ifft(gain * torch.fft.fft(y, size))[..., :count]
    return filtered if y.is_complex() else filtered.real


def arc(angles: tuple[float, ...]) -> float:
    """The degrees that equally spaced angles stand for: their number times their step."""
    if len(angles) == 1:
        return 180.0
    return abs(angles[-1] - angles[0]) * len(angles) / (len(angles) - 1)


def rounds(angles: tuple[float, ...], period: float) -> int | None:
    """How often the angles cover every line; None where some are covered more often than others.

    Parallel rays may leave out a part of half a turn: what is missing is missing.

    Args:
        angles: in degrees.
        period: the degrees after which lines repeat.
    """
    if period == 180 and max(angles) - min(angles) < 180:
        return 1
    count = max(1, round(arc(angles) / period))
    return count if abs(arc(angles) - count * period) <= 1e-6 * period else None


@dataclass(frozen=True)
class Parallel(Geometry):
    """Parallel rays: detector j of angle θ integrates along x cos θ + y sin θ = j − (D − 1)/2 − c.

    x goes right and y goes up, in pixels from the centre: the geometry of Radon's transform.

    Args:
        angles: θ in degrees.
        detectors: D, one pixel apart.
        axis: c, where the axis of rotation is seen, in detectors from the middle (D − 1)/2.
    """

    axis: float = bounded(0.0, finite, "in detectors")

    full_arc = 180.0

    @property
    def offsets(self) -> np.ndarray:
        return super().offsets - self.axis

    def pixel_rays(self, column: np.ndarray, row: np.ndarray) -> PixelRays:
        middle = (self.detectors - 1) / 2 + self.axis
        place = column * np.cos(self.theta) - row * np.sin(self.theta) + middle
        return PixelRays(place, np.ones_like(place))

    def gains(self) -> np.ndarray:
        return np.ones(self.detectors)

    def lines(self) -> Rays:
        offset = self.offsets[None]
        point = np.stack([offset * np.cos(self.theta), -offset * np.sin(self.theta)], -1)
        direction = np.stack([-np.sin(self.theta), -np.cos(self.theta)], -1) + 0 * point
        return Rays(point.reshape(-1, 2), direction.reshape(-1, 2))


@dataclass(frozen=True)
class Fan(Geometry):
    """Rays from a point source to a flat detector on the other side, both turning about the image.

    Args:
        angles: of the source in degrees, over a full turn as a rule.
        detectors: how many.
        spacing: from one detector to the next, in pixels.
        source: distance from the source to the centre, in pixels.
        screen: distance from the centre to the detectors, in pixels.
    """

    spacing: float = bounded(accepted=positive, note="in pixels")
    source: float = bounded(accepted=positive, note="in pixels")
    screen: float = bounded(accepted=positive, note="in pixels")

    full_arc = 360.0

    def pixel_rays(self, column: np.ndarray, row: np.ndarray) -> PixelRays:
        """The ray through a pixel; its weight is the square of the source's distance over depth."""
        depth = self.source - column * np.sin(self.theta) - row * np.cos(self.theta)
        across = column * np.cos(self.theta) - row * np.sin(self.theta)
        offset = across * (self.source + self.screen) / depth
        return PixelRays(
            offset / self.spacing + (self.detectors - 1) / 2, (self.source / depth) ** 2
        )

    def gains(self) -> np.ndarray:
        """cos γ / a: γ the angle of a ray, a the spacing on a screen through the centre."""
        reach = self.source + self.screen
        offset = self.spacing * self.offsets
        return np.asarray(reach / np.hypot(reach, offset) * reach / (self.spacing * self.source))

    def lines(self) -> Rays:
        offset = self.spacing * self.offsets[None]
        along = np.stack([np.cos(self.theta), -np.sin(self.theta)], -1)
        towards = np.stack([-np.sin(self.theta), -np.cos(self.theta)], -1)
        source = -self.source * towards + 0 * offset[..., None]
        end = self.screen * towards + offset[..., None] * along
        return Rays(source.reshape(-1, 2), (end - source).reshape(-1, 2))


@dataclass(frozen=True, eq=False)
class Projector(LinearOperator):
    """(Ax)_{θ, j} = the integral of x along line j of angle θ.

    The matrix is computed once for a geometry and a size; A* is its transpose, entry by entry.

    Args:
        geometry: the lines.
        image_shape: of one image, (C, H, W); one measurement is (C, angles, detectors).
        pixel: the side of a pixel, in the unit of length of the integrals.
    """

    nonnegative = True

    geometry: Geometry
    image_shape: Shape
    pixel: float = 1.0

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], *self.geometry.size

    def forward(self, x: Image) -> Measurement:
        matrix = self.geometry.matrix(self.image_shape, x)
        y = self.pixel * multiply(matrix, x.reshape(-1, matrix.forward.shape[1]))
        return y.reshape(-1, *self.measurement_shape)

    def adjoint(self, y: Measurement) -> Image:
        matrix = self.geometry.matrix(self.image_shape, y).swapped
        x = self.pixel * multiply(matrix, y.reshape(-1, matrix.forward.shape[1]))
        return x.reshape(-1, *self.image_shape)

    def precondition(self, r: Image, gamma: Scalar) -> Image:
        """(I + γC)⁻¹r, C the periodic convolution that A*A nearly is."""
        power = self.pixel**2 * self.geometry.spectrum(self.image_shape, r)
        solved: Tensor = torch.fft.ifft2(torch.fft.fft2(r) / (1 + gamma * power))
        return solved if r.is_complex() else solved.real

    def filtered_back_projection(self, y: Measurement) -> Image:
        """Δθ / (w k · pixel) · B(q * (g · y)): an approximate inverse, exact for many angles.

        B takes to every pixel what the ray through it measured, by linear interpolation between
        detectors; q is the ramp filter; Δθ is the step of the angles in radians; w = 1 over half a
        turn of parallel rays, 2 over a full turn of a fan, which covers every line twice; k is how
        often the angles go round so. It is not A⁺, nor is B the transpose of A.

        Raises:
            ConfigError: the source of a fan does not go all the way round, or angles go round more
                than once, and not a whole number of times.

        Source: Kak and Slaney, Principles of computerized tomographic imaging, 1988, chapter 3,
        equations 61 and 30, and section 3.4.2 for a fan on a flat screen.
        """
        geometry, turn = self.geometry, arc(self.geometry.angles)
        if self._rounds is None:
            raise ConfigError(
                f"filtered back-projection needs {COMPLETE[geometry.full_arc]}, got {turn:g} "
                f"degrees; set the arc to {geometry.full_arc:g}, or choose another start."
            )
        gains = torch.from_numpy(geometry.gains()).to(y.device, y.dtype.to_real())
        filtered = ramp_filtered(gains * y).reshape(-1, prod(geometry.size))
        weight = geometry.full_arc / 180 * self._rounds
        scale = np.deg2rad(turn / len(geometry.angles)) / weight / self.pixel
        image = float(scale) * geometry.back_project(filtered, self.image_shape)
        return image.reshape(-1, *self.image_shape)

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        """Filtered back-projection; A⁺y where it does not apply."""
        if self._rounds is None:
            return super().linear_baseline(y)
        return LinearBaseline("filtered_back_projection", self.filtered_back_projection(y))

    @property
    def _rounds(self) -> int | None:
        return rounds(self.geometry.angles, self.geometry.full_arc)


@lru_cache(maxsize=16)
def projector(geometry: Geometry, shape: Shape, pixel: float) -> Projector:
    """The same object for every batch of a scan, so that its norm is found once as well."""
    return Projector(geometry, shape, pixel)


def diagonal(shape: Shape) -> int:
    """Detectors one pixel apart that cover an image from every side."""
    return ceil(hypot(*shape[1:]))
