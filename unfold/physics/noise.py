"""Noise: from the clean measurement to the measured one, by draws that are passed in."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.random import Draws
from unfold.typing import Measurement


@dataclass(frozen=True)
class Noise(ABC):
    """The law of y given the clean measurement v = Ax."""

    @abstractmethod
    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        """Draw y for each sample; the dtype is that of `clean`."""
