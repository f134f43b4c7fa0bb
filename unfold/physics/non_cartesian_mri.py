"""The laws of magnetic resonance along spokes and spirals; they need the extra `nufft`."""

from dataclasses import dataclass

from unfold.physics.coil_maps import check_coils, draw_maps
from unfold.physics.law import Physics
from unfold.physics.non_cartesian import NonCartesian, NonCartesianCoils, RealNonCartesian
from unfold.physics.nufft import finufft
from unfold.physics.trajectories import Trajectory
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class NonCartesianMRI(Physics):
    """y_m = (Fx)(k_m) with noise, F the Fourier transform over the square root of H · W.

    The law draws operators of real images, whose phase is 0: y is complex, and A*y is a real part.
    `complex_operator` draws the same ones for complex images.

    Args:
        noise: complex, added to every point.
        trajectory: the law of the points.

    Raises:
        ConfigError: the package finufft is not installed.
    """

    trajectory: Trajectory

    def __post_init__(self) -> None:
        finufft()

    @property
    def is_fixed(self) -> bool:
        """Never: the first angle is drawn."""
        return False

    def sample(self, draws: Draws, shape: Shape) -> RealNonCartesian:
        """For real images."""
        return RealNonCartesian(self.complex_operator(draws, shape))

    def complex_operator(self, draws: Draws, shape: Shape) -> NonCartesian:
        """The operator of the same draws for complex images."""
        return NonCartesian(self.trajectory.draw(draws.within("points"), *shape[-2:]), shape)


@dataclass(frozen=True)
class MultiCoilNonCartesianMRI(Physics):
    """y_jm = F(S_j · x)(k_m) with noise, j = 1 … J, Σ |S_j|² = 1 at every pixel.

    The law draws operators of real images; `complex_operator` draws them for complex ones.

    Args:
        noise: complex, added to every point of every coil.
        trajectory: the law of the points.
        coils: J, at least 1, of the law of `MultiCoilMRI`.
        width: standard deviation of a sensitivity, in halves of the image's side, positive.

    Raises:
        ConfigError: there is no coil, the width is not positive, or the package finufft is not
            installed.
    """

    trajectory: Trajectory
    coils: int = 4
    width: float = 1.0

    def __post_init__(self) -> None:
        check_coils(type(self).__name__, self.coils, self.width)
        finufft()

    @property
    def is_fixed(self) -> bool:
        """Never: the first angle and the maps are drawn."""
        return False

    def sample(self, draws: Draws, shape: Shape) -> RealNonCartesian:
        """For real images."""
        return RealNonCartesian(self.complex_operator(draws, shape))

    def complex_operator(self, draws: Draws, shape: Shape) -> NonCartesianCoils:
        """The operator of the same draws for complex images."""
        points = self.trajectory.draw(draws.within("points"), *shape[-2:])
        return NonCartesianCoils(points, draw_maps(draws, self.coils, self.width, shape), shape)
