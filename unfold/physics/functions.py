"""The law of a linear map that the user has written."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.law import Physics
from unfold.physics.user import Functions
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class FunctionPhysics(Physics):
    """y = Ax with noise, A a function that is linear, differentiable and sample by sample.

    `unfold check physics=functions` tells whether it is, and whether the adjoint is its own.

    Args:
        noise: added to the measurement.
        forward: x ↦ Ax, from (B, C, H, W); a function, or an object that is called as one.
        adjoint: y ↦ A*y; the reverse mode of A where it is None.
    """

    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor] | None = None

    @property
    def is_fixed(self) -> bool:
        return True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """That of the measurement, where A keeps it.

        Raises:
            ConfigError: A makes another shape, so that y does not tell that of the image.
        """
        try:
            made = self.sample(Draws(0, range(1)), measurement_shape).measurement_shape
        except ShapeError:
            made = ()
        if made != measurement_shape:
            raise ConfigError(
                f"FunctionPhysics: the shape {measurement_shape} of y does not tell that of the "
                "image; pass the operator that measured y."
            )
        return measurement_shape

    def sample(self, draws: Draws, shape: Shape) -> Functions:
        """The same for every image.

        Raises:
            ShapeError: A refuses such images.
            ConfigError: what A makes is no batch of measurements.
        """
        nothing = torch.zeros(2, *shape, dtype=draws.dtype, device=draws.device)
        name = getattr(self.forward, "__name__", type(self.forward).__name__)
        try:
            with torch.no_grad():
                y = self.forward(nothing)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ShapeError(f"{name} does not act on images of {shape}: {error}") from error
        if not isinstance(y, Tensor) or len(y) != 2:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ConfigError(
                f"{name}: a measurement for each image is expected, (2, ...) for 2 images, got "
                f"{got}."
            )
        return Functions(self.forward, shape, tuple(y.shape[1:]), self.adjoint)
