"""Phase retrieval: a detector measures amplitudes only."""

from abc import ABC
from dataclasses import dataclass

from unfold.physics.base import ComplexPhysics
from unfold.typing import Measurement


@dataclass(frozen=True)
class Phaseless(ComplexPhysics, ABC):
    """y = |Ax| with noise, A linear.

    The observation is not linear in the image: take the fidelity `Amplitude`, whose A is the linear
    operator, with the start `Spectral`. An image and its negative are observed alike.

    Args:
        noise: added to the amplitudes.
    """

    def observe(self, v: Measurement) -> Measurement:
        """|v|: a detector measures no phase."""
        return v.abs()
