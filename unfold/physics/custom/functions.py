"""User-defined functions, linear or not."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import bounded, inside
from unfold.physics.base import Physics
from unfold.physics.nonlinear import NonlinearOperator, reverse_mode
from unfold.physics.operator import LinearOperator, Operator
from unfold.pytree import same_as
from unfold.random import Draws, generator
from unfold.typing import Image, Measurement, Shape

USER_ERRORS = (
    *(RuntimeError, ValueError, TypeError, LookupError),
    *(AssertionError, AttributeError, ImportError),
)
"""What user code raises for arguments, or a tensor, that it does not accept."""

ADJOINT_TOL = 0.05
"""How far an adjoint may be from that of A: some back-projectors are fast and not exact."""


@dataclass(frozen=True, eq=False)
class UserFunction(Operator, ABC):
    """A as a user-defined function.

    Args:
        function: x ↦ A(x), (B, C, H, W) to (B, …), sample by sample, differentiable.
        image_shape: of one image, (C, H, W).
        measured: of one measurement.
        like: (1,), a number in the precision and on the device of images, as the tensors of the
            function are not known; default ones where it is None.
    """

    function: Callable[[Tensor], Tensor]
    image_shape: Shape
    measured: Shape
    like: Tensor | None = field(default=None, kw_only=True)

    measurement_shape = same_as("measured")
    forward = same_as("function")


@dataclass(frozen=True, eq=False)
class FunctionOperator(UserFunction, LinearOperator):
    """A linear function, and A* as another or by the reverse mode.

    Args:
        adjoint_function: y ↦ A*y; the reverse mode of A where it is None.
    """

    adjoint_function: Callable[[Tensor], Tensor] | None = None

    def adjoint(self, y: Measurement) -> Image:
        if self.adjoint_function is not None:
            return self.adjoint_function(y)
        at = torch.zeros(len(y), *self.image_shape, dtype=y.dtype, device=y.device)
        return reverse_mode(self.function, at, y)


@dataclass(frozen=True, eq=False)
class NonlinearFunction(UserFunction, NonlinearOperator):
    """A function that need not be linear, and J(x)*u as another or by the reverse mode.

    Args:
        complex_y: whether measurements are complex.
        vjp_function: (x, u) ↦ J(x)*u; the reverse mode of A where it is None.
        grey: of every pixel of the image at which A is linearized before one is known.
    """

    complex_y: bool = False
    vjp_function: Callable[[Tensor, Tensor], Tensor] | None = None
    grey: float = 0.5

    complex_images = False
    complex_measurements = same_as("complex_y")

    def vjp(self, x: Image, u: Measurement) -> Image:
        return super().vjp(x, u) if self.vjp_function is None else self.vjp_function(x, u)

    def reference(self, like: Tensor) -> Image:
        return torch.full_like(super().reference(like), self.grey)


@dataclass(frozen=True)
class BlackBoxPhysics(Physics, ABC):
    """An operator that is known only by its outputs."""

    @property
    def label(self) -> str:
        """The name of the operator in messages."""
        return type(self).__name__

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """That of the measurement, where the operator keeps it."""
        try:
            made = self.sample(Draws(0, range(1)), measurement_shape).measurement_shape
        except ShapeError:
            made = ()
        if made != measurement_shape:
            raise ConfigError(
                f"{self.label}: the shape {measurement_shape} of y does not tell that of the "
                "image; pass the operator that measured y."
            )
        return measurement_shape

    def check_adjoint(self, operator: Operator, like: Tensor) -> None:
        """Compare J(x)* with reverse-mode differentiation of A, once for each shape of images.

        Where A is linear and has no reverse mode, its A* is not checked.

        Raises:
            ConfigError: A is not linear and its derivative cannot be taken.

        Warns:
            UserWarning: the two differ, so that gradients of f would be wrong.
        """
        if operator.image_shape in self._checked:
            return
        x = operator.reference(like)
        try:
            with torch.no_grad():
                error = _adjoint_error(operator, x + 0.2 * _noise(x))
                if not operator.linear:
                    operator.linearize(x).A(x)
        except USER_ERRORS as refused:
            if not operator.linear:
                text = f"{self.label}: its derivative cannot be taken: {refused}"
                raise ConfigError(text) from refused
            error = 0.0
        self._checked.add(operator.image_shape)
        if not error <= ADJOINT_TOL:
            of = "adjoint is not that" if operator.linear else "vjp is not that of the derivative"
            warnings.warn(
                f"{self.label}: its {of} of its A, but {error:.0%} apart: gradients of f are "
                "wrong by as much. See unfold check.",
                stacklevel=2,
            )

    @cached_property
    def _checked(self) -> set[Shape]:
        """The shapes of images for which that was checked."""
        return set()


@dataclass(frozen=True)
class UserFunctionPhysics(BlackBoxPhysics, ABC):
    """A user-defined function, the same for every image.

    Args:
        forward: x ↦ A(x), from (B, C, H, W); a function, or an object that is called as one.
    """

    forward: Callable[[Tensor], Tensor]

    is_deterministic = True

    @property
    def label(self) -> str:
        return name_of(self.forward)

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        nothing = torch.zeros(2, *shape, dtype=draws.dtype, device=draws.device)
        name = self.label
        try:
            with torch.no_grad():
                y = self.forward(nothing)
        except USER_ERRORS as error:
            raise ShapeError(f"{name} does not act on images of {shape}: {error}") from error
        if not isinstance(y, Tensor) or y.shape[:1] != (2,):
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ConfigError(
                f"{name}: a measurement for each image is expected, (2, ...) for 2 images, got "
                f"{got}."
            )
        made = self.build(shape, y, nothing.new_zeros(1))
        self.check_adjoint(made, y)
        return made

    @abstractmethod
    def build(self, shape: Shape, y: Measurement, like: Tensor) -> Operator:
        """The operator that makes y of two images of zeros; `like` has the kind of images."""


def _adjoint_error(operator: Operator, x: Tensor) -> float:
    """‖J(x)*u − its reverse mode‖ / ‖its reverse mode‖ of one u; of what is 0 at x, 0 or 1."""
    u = _noise(operator.A(x))
    found, want = operator.vjp(x, u), reverse_mode(operator.forward, x, u)
    if not bool(want.any()):
        return float(found.any())
    return float((found - want).norm() / want.norm())


def _noise(like: Tensor) -> Tensor:
    """The same numbers for every sample, uniform in (−1, 1); complex where `like` is."""
    draw, shape = generator("foreign"), (1, *like.shape[1:])
    numbers = torch.from_numpy(draw.uniform(-1, 1, shape))
    if like.is_complex():
        numbers = torch.complex(numbers, torch.from_numpy(draw.uniform(-1, 1, shape)))
    return numbers.to(like).expand_as(like)


def name_of(function: Callable[..., object]) -> str:
    """The name of a function or a class, also a partial one, or of an object's class."""
    function = function.func if isinstance(function, partial) else function
    return getattr(function, "__name__", type(function).__name__)


@dataclass(frozen=True)
class FunctionPhysics(UserFunctionPhysics):
    """y = Ax with noise, A a function that is linear, differentiable and sample by sample.

    `unfold check` tests both, and the adjoint. One that is not linear is for
    `NonlinearFunctionPhysics`.

    Args:
        adjoint: y ↦ A*y; the reverse mode of A where it is None.
    """

    adjoint: Callable[[Tensor], Tensor] | None = None

    def build(self, shape: Shape, y: Measurement, like: Tensor) -> FunctionOperator:
        return FunctionOperator(self.forward, shape, tuple(y.shape[1:]), self.adjoint, like=like)


@dataclass(frozen=True)
class NonlinearFunctionPhysics(UserFunctionPhysics):
    """y = A(x) with noise, A a function of real images, differentiable and sample by sample.

    It need not be linear: it takes an algorithm that needs only the gradient of f.
    `unfold check` tests its derivative.

    Args:
        vjp: (x, u) ↦ J(x)*u; the reverse mode of A where it is None.
        grey: intensity of the flat image at which A is linearized for lengths of steps and for the
            first image; its derivative there must not be 0.
    """

    vjp: Callable[[Tensor, Tensor], Tensor] | None = None
    grey: float = bounded(0.5, inside("[0, 1]"))

    def build(self, shape: Shape, y: Measurement, like: Tensor) -> NonlinearFunction:
        measured, complex_y = tuple(y.shape[1:]), y.is_complex()
        return NonlinearFunction(
            self.forward, shape, measured, complex_y, self.vjp, self.grey, like=like
        )
