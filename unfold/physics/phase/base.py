"""Phase retrieval: a detector measures amplitudes only."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.physics.wrapped import RealImages
from unfold.random import Draws
from unfold.typing import Measurement, Shape


@dataclass(frozen=True)
class Phaseless(Physics, ABC):
    """y = |Ax| with noise, A linear.

    The observation is not linear in the image: take the fidelity `Amplitude`, whose A is the linear
    operator, with the start `Spectral`. An image and its negative are observed alike.

    Args:
        noise: added to the amplitudes.
    """

    def observe(self, v: Measurement) -> Measurement:
        """|v|: a detector measures no phase."""
        return v.abs()

    @abstractmethod
    def complex_operator(self, draws: Draws, shape: Shape) -> Operator:
        """The operator of complex images; `sample` makes that of real ones from the same draws."""

    def sample(self, draws: Draws, shape: Shape) -> RealImages:
        """For real images."""
        return RealImages(self.complex_operator(draws, shape))
