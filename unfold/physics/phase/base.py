"""What the laws of phase retrieval have in common: a detector sees amplitudes alone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Measurement, Shape


@dataclass(frozen=True)
class Phaseless(Physics, ABC):
    """y = |Ax| with noise, A linear.

    What is observed is not linear in the image: take fidelity=amplitude, whose A is the linear
    operator, with start=spectral. An image and its negative are observed alike.

    Args:
        noise: added to the amplitudes.
    """

    def observe(self, v: Measurement) -> Measurement:
        """|v|: a detector sees no phase."""
        return v.abs()

    @abstractmethod
    def complex_operator(self, draws: Draws, shape: Shape) -> Operator:
        """The operator of the same draws for complex images; `sample` makes that of real ones."""
