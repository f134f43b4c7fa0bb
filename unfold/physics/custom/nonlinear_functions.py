"""User-defined differentiable functions, linear or not."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.parameters.bounds import bounded, inside
from unfold.physics.custom.functions import UserFunctionPhysics
from unfold.physics.nonlinear import NonlinearOperator
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class NonlinearFunction(NonlinearOperator):
    """A(x) as a function, and J(x)*u as another or by the reverse mode.

    Args:
        function: x ↦ A(x), (B, C, H, W) to (B, …), sample by sample, differentiable.
        image_shape: of one image, (C, H, W).
        measured: of one measurement.
        complex_y: whether measurements are complex.
        vjp_function: (x, u) ↦ J(x)*u; the reverse mode of A where it is None.
        grey: of every pixel of the image at which A is linearized before one is known.
        like: (1,), a number in the precision and on the device of images, as the tensors of the
            function are not known; default ones where it is None.
    """

    function: Callable[[Tensor], Tensor]
    image_shape: Shape
    measured: Shape
    complex_y: bool = False
    vjp_function: Callable[[Tensor, Tensor], Tensor] | None = None
    grey: float = 0.5
    like: Tensor | None = None

    @property
    def measurement_shape(self) -> Shape:
        return self.measured

    complex_images = False

    @property
    def complex_measurements(self) -> bool:
        return self.complex_y

    def forward(self, x: Image) -> Measurement:
        return self.function(x)

    def vjp(self, x: Image, u: Measurement) -> Image:
        """J(x)*u, by the user's formula where there is one."""
        return super().vjp(x, u) if self.vjp_function is None else self.vjp_function(x, u)

    def reference(self, like: Tensor) -> Image:
        """`grey` in every pixel."""
        return torch.full_like(super().reference(like), self.grey)


@dataclass(frozen=True)
class NonlinearFunctionPhysics(UserFunctionPhysics):
    """y = A(x) with noise, A a function of real images, differentiable and sample by sample.

    It need not be linear: it takes an algorithm that needs only the gradient of f.
    `unfold check` tests its derivative.

    Args:
        noise: added to the measurement.
        forward: x ↦ A(x), from (B, C, H, W); a function, or an object that is called as one.
        vjp: (x, u) ↦ J(x)*u; the reverse mode of A where it is None.
        grey: intensity of the flat image at which A is linearized for lengths of steps and for the
            first image; its derivative there must not be 0.
    """

    vjp: Callable[[Tensor, Tensor], Tensor] | None = None
    grey: float = bounded(0.5, inside("[0, 1]"))

    def build(self, shape: Shape, y: Measurement, like: Tensor) -> NonlinearFunction:
        measured, complex_y = tuple(y.shape[1:]), y.is_complex()
        return NonlinearFunction(
            self.forward, shape, measured, complex_y, self.vjp, self.grey, like
        )
