"""Operators that are not linear, and their derivatives as linear ones."""

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement, Scalar, Shape


@dataclass(frozen=True, eq=False)
class NonlinearOperator(Operator, ABC):
    """y = A(x), differentiable, from images (B, C, H, W) to measurements (B, …), real or complex.

    Subclasses write `forward` and the two shapes, and override `vjp` and `jvp` where they know them
    in closed form. What needs a linear A is refused. Derivatives are over the real numbers, with
    ⟨u, v⟩ = Re Σ ū v where they are complex.
    """

    @property
    def linear(self) -> bool:
        return False

    def vjp(self, x: Image, u: Measurement) -> Image:
        """J(x)*u, by the reverse mode of `forward`; differentiable again, in x and in u."""
        return pulled(self.forward, x, u)

    def jvp(self, x: Image, v: Image) -> Measurement:
        """J(x)v: the derivative of u ↦ J(x)*u, which is linear, by the reverse mode of A twice."""
        kind = x.dtype.to_complex() if self.complex_measurements else x.dtype.to_real()
        shape = (len(x), *self.measurement_shape)
        nothing = torch.zeros(shape, dtype=kind, device=x.device)
        return pulled(lambda u: pulled(self.forward, x, u), nothing, v)

    def linearize(self, x: Image) -> Operator:
        """J(x), the derivative at an image, as a linear operator."""
        return Linearization(self, x)

    def adjoint(self, y: Measurement) -> Image:
        """Refused: only a linear operator has one."""
        self._refuse("adjoint")

    def A_adjoint(self, y: Measurement) -> Image:
        """Refused: only a linear operator has one."""
        self._refuse("A_adjoint")

    def normal(self, x: Image) -> Image:
        """Refused: only a linear operator has A*A."""
        self._refuse("normal")

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """Refused: only a linear operator has A*A."""
        self._refuse("solve_normal")

    def pseudo_inverse(self, y: Measurement) -> Image:
        """Refused: only a linear operator has one."""
        self._refuse("pseudo_inverse")

    def _refuse(self, method: str) -> NoReturn:
        name = type(self).__name__
        raise ConfigError(
            f"{name}.{method}: {name}, from images of {self.image_shape} to measurements of "
            f"{self.measurement_shape}, is not linear, and has a vector–Jacobian product in the "
            "place of an adjoint. Take an algorithm that needs only the gradient of f, such as "
            "algo=pgd, algo=gd or algo=fista, and start=regularised or start=back_projection; "
            "`linearize(x)` is linear."
        )


@dataclass(frozen=True, eq=False)
class Linearization(Operator):
    """Av = J(x)v, the derivative of a map at an image, so that A*u = J(x)*u.

    Args:
        operator: the map.
        at: x, (B or 1, C, H, W).
    """

    operator: NonlinearOperator
    at: Tensor

    @property
    def image_shape(self) -> Shape:
        return self.operator.image_shape

    @property
    def measurement_shape(self) -> Shape:
        return self.operator.measurement_shape

    @property
    def complex_images(self) -> bool:
        return self.operator.complex_images

    @property
    def complex_measurements(self) -> bool:
        return self.operator.complex_measurements

    @property
    def batch(self) -> int:
        """That of the map, or of the image."""
        return max(self.operator.batch, len(self.at))

    def forward(self, x: Image) -> Measurement:
        return self.operator.jvp(self.at.expand(len(x), *self.at.shape[1:]), x)

    def adjoint(self, y: Measurement) -> Image:
        return self.operator.vjp(self.at.expand(len(y), *self.at.shape[1:]), y)


def pulled(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> Tensor:
    """J(x)*u by the reverse mode of a function, inside other transforms and in every mode."""
    pull: Callable[[Tensor], tuple[Tensor]] = torch.func.vjp(function, x)[1]
    return pull(u)[0]
