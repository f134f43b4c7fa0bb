"""What the laws of maps that unfold has not written have in common."""

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.law import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Measurement, Shape

REFUSALS = (
    *(RuntimeError, ValueError, TypeError, LookupError),
    *(AssertionError, AttributeError, ImportError),
)
"""What foreign code raises of arguments, or of a tensor, that it cannot take."""


@dataclass(frozen=True)
class Foreign(Physics, ABC):
    """A law of a map that is known by what it makes of images alone.

    Args:
        noise: added to the measurement.
    """

    @property
    def map_name(self) -> str:
        """What messages call the map."""
        return type(self).__name__

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """That of the measurement, where the map keeps it.

        Raises:
            ConfigError: it makes another shape of such images, or refuses them.
        """
        try:
            made = self.sample(Draws(0, range(1)), measurement_shape).measurement_shape
        except ShapeError:
            made = ()
        if made != measurement_shape:
            raise ConfigError(
                f"{self.map_name}: the shape {measurement_shape} of y does not tell that of the "
                "image; pass the operator that measured y."
            )
        return measurement_shape

    def expect_derivative(self, operator: Operator, like: Tensor) -> None:
        """Refuse a map that is not linear and whose derivative cannot be taken, at its first use.

        Raises:
            ConfigError: with what it says.
        """
        if operator.linear or operator.image_shape in self._differentiable:
            return
        x = operator.reference(like)
        try:
            with torch.no_grad():
                operator.vjp(x, operator.linearised(x).A(x))
        except REFUSALS as error:
            text = f"{self.map_name}: its derivative cannot be taken: {error}"
            raise ConfigError(text) from error
        self._differentiable.add(operator.image_shape)

    @cached_property
    def _differentiable(self) -> set[Shape]:
        """The shapes of images for which that is known."""
        return set()


def named(function: Callable[..., object]) -> str:
    """The name of a function, or of the class of an object that is called as one."""
    return getattr(function, "__name__", type(function).__name__)


def tried(function: Callable[[Tensor], Tensor], shape: Shape, draws: Draws) -> Measurement:
    """What a function of the user makes of two images of zeros.

    Raises:
        ShapeError: it refuses such images.
        ConfigError: what it makes is no batch of measurements.
    """
    nothing = torch.zeros(2, *shape, dtype=draws.dtype, device=draws.device)
    try:
        with torch.no_grad():
            y = function(nothing)
    except REFUSALS as error:
        name = named(function)
        raise ShapeError(f"{name} does not act on images of {shape}: {error}") from error
    if not isinstance(y, Tensor) or y.shape[:1] != (2,):
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ConfigError(
            f"{named(function)}: a measurement for each image is expected, (2, ...) for 2 images, "
            f"got {got}."
        )
    return y
