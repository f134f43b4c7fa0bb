"""Denoising: the image itself is measured."""

from dataclasses import dataclass
from functools import cached_property

import torch

from unfold.physics.base import Physics
from unfold.physics.noise.base import Gaussian, Noise
from unfold.physics.operator import LinearOperator, Operator
from unfold.random import Draws
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class Identity(LinearOperator):
    """Ax = x.

    Args:
        image_shape: of one image, (C, H, W).
    """

    image_shape: Shape

    @property
    def abs_operator(self) -> Operator:
        """Itself."""
        return self

    def forward(self, x: Image) -> Measurement:
        return x

    def adjoint(self, y: Measurement) -> Image:
        return y

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: float | None = None
    ) -> Image:
        """b / (1 + γ)."""
        return b / (1 + gamma)

    @cached_property
    def norm_squared(self) -> PerImage:
        """1."""
        return torch.ones(1)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """The measurement itself."""
        return y


@dataclass(frozen=True)
class Denoising(Physics):
    """y = x with noise.

    Args:
        noise: added to the image; Gaussian of σ = 0.05 if left out.
    """

    noise: Noise = Gaussian(0.05)

    @property
    def is_deterministic(self) -> bool:
        return True

    def sample(self, draws: Draws, shape: Shape) -> Identity:
        return Identity(shape)
