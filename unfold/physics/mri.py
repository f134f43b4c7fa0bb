"""Cartesian magnetic resonance imaging: part of the Fourier transform of the image is measured."""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from unfold.errors import ConfigError
from unfold.physics.coils import Coils
from unfold.physics.fourier import Fourier, RealFourier
from unfold.physics.law import Physics
from unfold.physics.real_images import RealImages
from unfold.physics.sampling import Sampling
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class MRI(Physics):
    """y = m · Fx with noise, F the orthonormal transform.

    The law draws operators of real images, whose phase is 0: y is complex, and A*y is the real
    part of F⁻¹(m · y). `complex_operator` draws the same ones for complex images.

    Args:
        noise: complex, added to all frequencies, also to the zeros of those not acquired.
        columns: the law of m.
    """

    columns: Sampling

    @property
    def is_fixed(self) -> bool:
        return self.columns.is_fixed

    def sample(self, draws: Draws, shape: Shape) -> RealFourier:
        """For real images."""
        return RealFourier(self.columns.draw(draws.within("columns"), *shape[-2:]), shape)

    def complex_operator(self, draws: Draws, shape: Shape) -> Fourier:
        """The operator of the same draws for complex images."""
        return Fourier(self.columns.draw(draws.within("columns"), *shape[-2:]), shape)


@dataclass(frozen=True)
class MultiCoilMRI(Physics):
    """y_j = m · F(S_j · x) with noise, j = 1 … J, Σ |S_j|² = 1 at every pixel.

    S_j is a Gaussian bump around the place of coil j on a circle about the image, times a phase
    that is linear in the pixels; the circle is turned and the phases are drawn for every image.
    The law draws operators of real images; `complex_operator` draws them for complex ones.

    Args:
        noise: complex, added to all frequencies of all coils.
        columns: the law of m.
        coils: J, at least 1.
        width: standard deviation of a bump, in halves of the image's side, positive.

    Raises:
        ConfigError: there is no coil, or the width is not positive.
    """

    columns: Sampling
    coils: int = 4
    width: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.coils, bool) or int(self.coils) != self.coils or self.coils < 1:
            raise ConfigError(
                f"MultiCoilMRI.coils = {self.coils}: must be a whole number of at least 1."
            )
        if not 0 < self.width < float("inf"):
            raise ConfigError(
                f"MultiCoilMRI.width = {self.width}: must be positive, in halves of the side."
            )

    @property
    def is_fixed(self) -> bool:
        return False

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, H, W)."""
        return measurement_shape[0], *measurement_shape[2:]

    def sample(self, draws: Draws, shape: Shape) -> RealImages:
        """For real images."""
        return RealImages(self.complex_operator(draws, shape))

    def complex_operator(self, draws: Draws, shape: Shape) -> Coils:
        """The operator of the same draws for complex images."""
        mask = self.columns.draw(draws.within("columns"), *shape[-2:])
        return Coils(mask, self._maps(draws, shape), shape)

    def _maps(self, draws: Draws, shape: Shape) -> Tensor:
        """(B, J, H, W), complex."""
        height, width = shape[-2:]
        v, u = np.meshgrid(_axis(height), _axis(width), indexing="ij")

        def maps(g: np.random.Generator, _: int) -> np.ndarray:
            place = g.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(self.coils) / self.coils
            px, py = (1.2 * f(place)[:, None, None] for f in (np.cos, np.sin))
            bump = np.exp(-((u - px) ** 2 + (v - py) ** 2) / (2 * self.width**2))
            offset, across, down = g.uniform(-np.pi, np.pi, (3, self.coils, 1, 1))
            phase = offset + (across * u + down * v) / 2
            return np.asarray(bump * np.exp(1j * phase) / np.sqrt((bump**2).sum(0)))

        return replace(draws, dtype=draws.dtype.to_complex()).each("maps", maps)


def _axis(size: int) -> np.ndarray:
    """The pixels from −1 to 1; a single one is at 0."""
    return np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
