"""Ptychography: a small probe scans the image; amplitudes of the far field at every place."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import bounded, finite, whole
from unfold.physics.closed_forms import PerPixel
from unfold.physics.mri.cartesian import back, transform
from unfold.physics.phase.retrieval import Phaseless
from unfold.pytree import Derived
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class ProbeScan(PerPixel):
    """(Ax)_j = F(p · x_j), x_j the window of the image at place j; A*A = Σ_j |p(u − u_j)|².

    The windows start at every multiple of the step, from border to border. F is the orthonormal
    transform, so that the closed forms are those of pixel by pixel weights.

    Args:
        probe: p, complex, (1, 1, n, n).
        image_shape: of one image, (C, H, W), H − n and W − n divisible by the step; one measurement
            is (C, places down, places across, n, n).
        step: pixels from one place to the next; it divides n.

    Source: Rodenburg and Maiden, Ptychography, Springer Handbook of Microscopy (2019), section
    17.2.
    """

    probe: Tensor
    image_shape: Shape
    step: int

    def __post_init__(self) -> None:
        found, side = tuple(self.probe.shape), self.side
        if found != (1, 1, side, side) or not self.probe.is_complex() or side % self.step:
            raise ShapeError(
                "ProbeScan.probe must be complex, (1, 1, n, n), n a multiple of the step "
                f"{self.step}, got {found} of {self.probe.dtype}."
            )
        height, width = self.image_shape[1:]
        beyond = [height - side, width - side]
        if min(beyond) < 0 or any(size % self.step for size in beyond):
            raise ShapeError(
                f"ProbeScan: a probe of {side} x {side} pixels in steps of {self.step} does not "
                f"scan an image of {height} x {width} from border to border; crop it to {side} + "
                f"a multiple of {self.step}."
            )

    @property
    def side(self) -> int:
        return self.probe.shape[-1]

    @property
    def measurement_shape(self) -> Shape:
        channels, *sizes = self.image_shape
        down, across = ((size - self.side) // self.step + 1 for size in sizes)
        return channels, down, across, self.side, self.side

    @Derived
    def power(self) -> Tensor:
        """Σ_j |p(u − u_j)|², (1, 1, H, W)."""
        _, down, across, _, _ = self.measurement_shape
        squared = self.probe.real**2 + self.probe.imag**2
        return self._fold(squared[:, :, None, None].expand(-1, -1, down, across, -1, -1))

    def forward(self, x: Image) -> Measurement:
        windows = x.unfold(-2, self.side, self.step).unfold(-2, self.side, self.step)
        return transform(self.probe[:, :, None, None] * windows)

    def adjoint(self, y: Measurement) -> Image:
        return self._fold(self.probe[:, :, None, None].conj() * back(y))

    def _fold(self, windows: Tensor) -> Tensor:
        """The sum of the windows at their places: tile by tile, each a multiple of the step."""
        step, count = self.step, self.side // self.step
        down, across = windows.shape[2:4]
        tiles = windows.reshape(*windows.shape[:4], count, step, count, step)
        image = windows.new_zeros(
            *windows.shape[:2], (down + count - 1) * step, (across + count - 1) * step
        )
        for i in range(count):
            for j in range(count):
                part = tiles[:, :, :, :, i, :, j].transpose(3, 4).flatten(4).flatten(2, 3)
                rows = slice(i * step, (i + down) * step)
                image[..., rows, j * step : (j + across) * step] += part
        return image


@dataclass(frozen=True)
class Ptychography(Phaseless):
    """y_j = |F(p · x_j)| with noise, x_j the window of n x n pixels at each place of a raster.

    p(u) ∝ exp(−|u|²/(2w²)) exp(iπ · defocus · |u|²/w²), w = n/4: a focused spot, or one before or
    behind its focus, scaled so that ‖A‖ = 1.

    Args:
        side: n in pixels, at least 2.
        step: pixels from one place to the next, at least 1; it divides n. n/2 is an overlap of
            half a window.
        defocus: turns of the phase at |u| = w, times 2; finite.
    """

    side: int = bounded(16, whole(2), "pixels of the probe")
    step: int = bounded(8, whole(1))
    defocus: float = bounded(1.0, finite)

    is_deterministic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side % self.step:
            raise ConfigError(
                f"Ptychography.step = {self.step}: must be at least 1 and divide side = "
                f"{self.side}; side / 2 is an overlap of half a window."
            )

    def image_shape(self, measurement_shape: Shape) -> Shape:
        channels, down, across, *_ = measurement_shape
        height, width = (self.side + (count - 1) * self.step for count in (down, across))
        return channels, height, width

    def complex_operator(self, draws: Draws, shape: Shape) -> ProbeScan:
        return ProbeScan(self._probe(draws, shape), shape, self.step)

    def _probe(self, draws: Draws, shape: Shape) -> Tensor:
        """(1, 1, n, n), complex."""
        u = np.arange(self.side) - (self.side - 1) / 2
        squared = (u[:, None] ** 2 + u**2) / (self.side / 4) ** 2
        values = np.exp((-0.5 + 1j * np.pi * self.defocus) * squared)
        probe = torch.from_numpy(values)[None, None]
        largest = ProbeScan(probe, shape, self.step).power.max()
        kind = draws.dtype.to_complex()
        return (probe / largest.sqrt()).to(device=draws.device, dtype=kind)
