"""Cartesian magnetic resonance imaging: part of the Fourier transform of the image is measured."""

from dataclasses import dataclass

from unfold.parameters.bounds import bounded, positive, whole
from unfold.physics.base import ComplexPhysics
from unfold.physics.mri.coils import HALVES, MultiCoilFourier, sample_maps
from unfold.physics.mri.fourier import Fourier, RealFourier
from unfold.physics.mri.sampling import Sampling
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class MRI(ComplexPhysics):
    """y = m · Fx with noise, F the orthonormal transform.

    Args:
        noise: complex, added to all frequencies, also to the zeros of those not acquired.
        columns: the distribution of m.
    """

    columns: Sampling

    @property
    def is_deterministic(self) -> bool:
        return self.columns.is_deterministic

    def sample(self, draws: Draws, shape: Shape) -> RealFourier:
        """For real images."""
        return RealFourier(self.columns.sample(draws.within("columns"), *shape[-2:]), shape)

    def complex_operator(self, draws: Draws, shape: Shape) -> Fourier:
        """The operator of the same draws for complex images."""
        return Fourier(self.columns.sample(draws.within("columns"), *shape[-2:]), shape)


@dataclass(frozen=True)
class MultiCoilMRI(ComplexPhysics):
    """y_j = m · F(S_j · x) with noise, j = 1 … J, Σ |S_j|² = 1 at every pixel.

    S_j is a Gaussian bump around the place of coil j on a circle about the image, times a phase
    that is linear in the pixels; the circle is rotated and the phases are sampled for every image.

    Args:
        noise: complex, added to all frequencies of all coils.
        columns: the distribution of m.
        coils: J, at least 1.
        width: standard deviation of a bump, in halves of the image's side, positive.
    """

    columns: Sampling
    coils: int = bounded(4, whole(1))
    width: float = bounded(1.0, positive, HALVES)

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, H, W)."""
        return measurement_shape[0], *measurement_shape[2:]

    def complex_operator(self, draws: Draws, shape: Shape) -> MultiCoilFourier:
        """The operator of the same draws for complex images."""
        mask = self.columns.sample(draws.within("columns"), *shape[-2:])
        return MultiCoilFourier(mask, sample_maps(draws, self.coils, self.width, shape), shape)
