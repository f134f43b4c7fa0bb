"""The law of a linear map that the user has written."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.base import Physics
from unfold.physics.custom.linear import Functions
from unfold.physics.nonlinear import reverse_mode
from unfold.physics.operator import Operator
from unfold.random import Draws, generator
from unfold.typing import Measurement, Shape

REFUSALS = (
    *(RuntimeError, ValueError, TypeError, LookupError),
    *(AssertionError, AttributeError, ImportError),
)
"""What foreign code raises of arguments, or of a tensor, that it cannot take."""

APART = 0.05
"""How far an adjoint may be from that of A: some projectors back are fast and not exact."""


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

    def examine(self, operator: Operator, like: Tensor) -> None:
        """Look at J(x)* beside the reverse mode of A, once for each shape of images.

        Where A is linear and has no reverse mode, its A* is taken on trust.

        Raises:
            ConfigError: A is not linear and its derivative cannot be taken.

        Warns:
            UserWarning: the two are apart, so that gradients of f would be wrong.
        """
        if operator.image_shape in self._examined:
            return
        x = operator.reference(like)
        try:
            with torch.no_grad():
                apart = _apart(operator, x + 0.2 * _noise(x))
                if not operator.linear:
                    operator.linearize(x).A(x)
        except REFUSALS as error:
            if not operator.linear:
                text = f"{self.map_name}: its derivative cannot be taken: {error}"
                raise ConfigError(text) from error
            apart = 0.0
        self._examined.add(operator.image_shape)
        if not apart <= APART:
            of = "adjoint is not that" if operator.linear else "vjp is not that of the derivative"
            warnings.warn(
                f"{self.map_name}: its {of} of its A, but {apart:.0%} apart: gradients of f are "
                "wrong by as much. See unfold check.",
                stacklevel=2,
            )

    @cached_property
    def _examined(self) -> set[Shape]:
        """The shapes of images for which that was looked at."""
        return set()


@dataclass(frozen=True)
class OwnFunction(Foreign, ABC):
    """A law of one function of the user, the same for every image.

    Args:
        noise: added to the measurement.
        forward: x ↦ A(x), from (B, C, H, W); a function, or an object that is called as one.
    """

    forward: Callable[[Tensor], Tensor]

    @property
    def is_deterministic(self) -> bool:
        return True

    @property
    def map_name(self) -> str:
        """The name of the function."""
        return named(self.forward)

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        """The same for every image.

        Raises:
            ShapeError: A refuses such images.
            ConfigError: what A makes is no batch of measurements, or A is not linear and has no
                derivative.
        """
        y = self._tried(shape, draws)
        made = self.made(shape, y, torch.zeros(1, dtype=draws.dtype, device=draws.device))
        self.examine(made, y)
        return made

    @abstractmethod
    def made(self, shape: Shape, y: Measurement, like: Tensor) -> Operator:
        """The operator.

        Args:
            shape: of one image.
            y: what A makes of two images of zeros.
            like: (1,), a number in the precision and on the device of images.
        """

    def _tried(self, shape: Shape, draws: Draws) -> Measurement:
        nothing = torch.zeros(2, *shape, dtype=draws.dtype, device=draws.device)
        name = self.map_name
        try:
            with torch.no_grad():
                y = self.forward(nothing)
        except REFUSALS as error:
            raise ShapeError(f"{name} does not act on images of {shape}: {error}") from error
        if not isinstance(y, Tensor) or y.shape[:1] != (2,):
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ConfigError(
                f"{name}: a measurement for each image is expected, (2, ...) for 2 images, got "
                f"{got}."
            )
        return y


def _apart(operator: Operator, x: Tensor) -> float:
    """‖J(x)*u − its reverse mode‖ / ‖its reverse mode‖ of one u; of what is 0 at x, 0 or 1."""
    u = _noise(operator.A(x))
    found, want = operator.vjp(x, u), reverse_mode(operator.forward, x, u)
    if not bool(want.any()):
        return float(found.any())
    return float((found - want).norm() / want.norm())


def _noise(like: Tensor) -> Tensor:
    """The same numbers for every sample, uniform in (-1, 1); both parts where `like` is complex."""
    draw, shape = generator("foreign"), (1, *like.shape[1:])
    numbers = torch.from_numpy(draw.uniform(-1, 1, shape))
    if like.is_complex():
        numbers = torch.complex(numbers, torch.from_numpy(draw.uniform(-1, 1, shape)))
    return numbers.to(like).expand_as(like)


def named(function: Callable[..., object]) -> str:
    """The name of a function, or of the class of an object that is called as one."""
    return getattr(function, "__name__", type(function).__name__)


@dataclass(frozen=True)
class FunctionPhysics(OwnFunction):
    """y = Ax with noise, A a function that is linear, differentiable and sample by sample.

    `unfold check physics=functions` tells whether it is, and whether the adjoint is its own. One
    that is not linear is for physics=nonlinear_functions.

    Args:
        noise: added to the measurement.
        forward: x ↦ Ax, from (B, C, H, W); a function, or an object that is called as one.
        adjoint: y ↦ A*y; the reverse mode of A where it is None.
    """

    adjoint: Callable[[Tensor], Tensor] | None = None

    def made(self, shape: Shape, y: Measurement, like: Tensor) -> Functions:
        return Functions(self.forward, shape, tuple(y.shape[1:]), self.adjoint, like)
