"""Denoising: the image itself is measured."""

from dataclasses import dataclass

from unfold.physics.identity import Identity
from unfold.physics.law import Physics
from unfold.physics.noise import Gaussian, Noise
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class Denoising(Physics):
    """y = x with noise.

    Args:
        noise: added to the image; Gaussian of σ = 0.05 if left out.
    """

    noise: Noise = Gaussian(0.05)

    @property
    def is_fixed(self) -> bool:
        return True

    def sample(self, draws: Draws, shape: Shape) -> Identity:
        return Identity(shape)
