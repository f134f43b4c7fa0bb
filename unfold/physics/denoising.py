"""Denoising: the image itself is measured."""

from dataclasses import dataclass

from unfold.physics.base import Physics
from unfold.physics.closed_forms import Isometry
from unfold.physics.noise.base import Gaussian, Noise
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Identity(Isometry):
    """Ax = x.

    Args:
        image_shape: of one image, (C, H, W).
    """

    nonnegative = True

    image_shape: Shape

    def forward(self, x: Image) -> Measurement:
        return x

    def adjoint(self, y: Measurement) -> Image:
        return y


@dataclass(frozen=True)
class Denoising(Physics):
    """y = x with noise.

    Args:
        noise: added to the image; Gaussian of σ = 0.05 if left out.
    """

    noise: Noise = Gaussian(0.05)

    is_deterministic = photographic = True

    def sample(self, draws: Draws, shape: Shape) -> Identity:
        return Identity(shape)
