"""Operators that are not linear, and their derivatives as linear ones."""

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.physics.algebra import Unary
from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement


@dataclass(frozen=True, eq=False)
class NonlinearOperator(Operator, ABC):
    """y = A(x), differentiable, from images (B, C, H, W) to measurements (B, …), real or complex.

    Subclasses write `forward` and the shapes, and override `vjp` and `jvp` where they know them in
    closed form. Derivatives are over the real numbers, with ⟨u, v⟩ = Re Σ ū v where they are
    complex.
    """

    linear = False

    def vjp(self, x: Image, u: Measurement) -> Image:
        """J(x)*u, by reverse-mode differentiation of `forward`; differentiable in x and in u."""
        return reverse_mode(self.forward, x, u)

    def jvp(self, x: Image, v: Image) -> Measurement:
        """J(x)v: the derivative of u ↦ J(x)*u, which is linear, by reverse mode applied twice."""
        kind = x.dtype.to_complex() if self.complex_measurements else x.dtype.to_real()
        shape = (len(x), *self.measurement_shape)
        nothing = torch.zeros(shape, dtype=kind, device=x.device)
        return reverse_mode(lambda u: reverse_mode(self.forward, x, u), nothing, v)

    def linearize(self, x: Image) -> Operator:
        return Linearization(self, x)


@dataclass(frozen=True, eq=False)
class Linearization(Unary):
    """Av = J(x)v, the derivative of an operator at an image, so that A*u = J(x)*u.

    Args:
        operator: the operator.
        at: x, (B or 1, C, H, W).
    """

    at: Tensor

    linear = True
    linear_samples = (True,)

    @property
    def batch(self) -> int:
        return max(self.operator.batch, len(self.at))

    def forward(self, x: Image) -> Measurement:
        assert isinstance(self.operator, NonlinearOperator)
        return self.operator.jvp(self.at.expand(len(x), *self.at.shape[1:]), x)

    def adjoint(self, y: Measurement) -> Image:
        return self.operator.vjp(self.at.expand(len(y), *self.at.shape[1:]), y)


def reverse_mode(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> Tensor:
    """J(x)*u by reverse-mode differentiation of a function, also inside other transforms."""
    pull: Callable[[Tensor], tuple[Tensor]] = torch.func.vjp(function, x)[1]
    return pull(u)[0]
