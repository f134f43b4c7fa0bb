"""Operators made of operators: products and stacks."""

from abc import ABC
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement, Shape


def linear_together(operators: tuple[Operator, ...]) -> tuple[bool, ...]:
    """Whether all are linear: of each sample, or one for all."""
    each = [operator.linear_samples for operator in operators]
    return tuple(all(own[i % len(own)] for own in each) for i in range(max(map(len, each))))


def same_samples(owner: str, operators: tuple[Operator, ...]) -> None:
    """Refuse operators of different numbers of samples.

    Raises:
        ShapeError: with the numbers.
    """
    batches = {operator.batch for operator in operators} - {1}
    if len(batches) > 1:
        raise ShapeError(
            f"{owner}: the operators belong to {sorted(batches)} samples; pass operators of one "
            "batch, or that are the same for all."
        )


@dataclass(frozen=True, eq=False)
class Composed(Operator):
    """Ax = B(Cx), so that A* = C*B*, and J(x) = J_B(Cx) J_C(x) where they are not linear.

    Args:
        outer: B.
        inner: C, whose measurements are the images of B.

    Raises:
        ShapeError: they are not, C and B belong to different numbers of samples, or one of them is
            not linear and B takes images of another kind than C makes.
    """

    outer: Operator
    inner: Operator

    def __post_init__(self) -> None:
        if self.inner.measurement_shape != self.outer.image_shape:
            raise ShapeError(
                f"Composed: {type(self.inner).__name__} makes {self.inner.measurement_shape} and "
                f"{type(self.outer).__name__} takes {self.outer.image_shape}."
            )
        same_samples("Composed", (self.outer, self.inner))
        taken, made = self.outer.complex_images, self.inner.complex_measurements
        either = self.outer.linear and not taken  # a real linear map takes both kinds
        if not self.linear and not either and taken != made:
            words = ("real", "complex")
            raise ShapeError(
                f"Composed: {type(self.inner).__name__} makes {words[made]} measurements and "
                f"{type(self.outer).__name__} takes {words[taken]} images; where one of them is "
                "not linear they must agree."
            )

    @cached_property
    def linear(self) -> bool:
        """Whether both are."""
        return self.outer.linear and self.inner.linear

    @property
    def linear_samples(self) -> tuple[bool, ...]:
        """Those of which both are."""
        return linear_together((self.outer, self.inner))

    def linearize(self, x: Image) -> Operator:
        """By the chain rule."""
        if self.linear:
            return self
        outer = self.outer.linearize(self.inner.forward(x))
        return Composed(outer, self.inner.linearize(x))

    def reference(self, like: Tensor) -> Image:
        """That of C."""
        return self.inner.reference(like)

    def tangent(self, like: Tensor) -> Operator:
        """The product of theirs, each at its own reference."""
        return self if self.linear else Composed(self.outer.tangent(like), self.inner.tangent(like))

    def linearized_data(self, y: Measurement) -> Measurement:
        """y − b_B − J_B b_C, where B(v) ≈ b_B + J_B v and C(x) ≈ b_C + J_C x."""
        if self.linear:
            return y
        self._expect("linearized_data", y, self.measurement_shape)
        rest = self.outer.linearized_data(y)
        if self.inner.linear:
            return rest
        return rest - self.outer.tangent(y).forward(self.inner.offset(y))

    @property
    def complex_images(self) -> bool:
        lifted = self.outer.complex_images and not self.inner.complex_measurements
        return self.inner.complex_images or lifted

    @property
    def complex_measurements(self) -> bool:
        passed = self.inner.complex_measurements and not self.outer.complex_images
        return self.outer.complex_measurements or passed

    @property
    def image_shape(self) -> Shape:
        return self.inner.image_shape

    @property
    def measurement_shape(self) -> Shape:
        return self.outer.measurement_shape

    def forward(self, x: Image) -> Measurement:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Measurement) -> Image:
        return self.inner.adjoint(self.outer.adjoint(y))

    @property
    def batch(self) -> int:
        """That of B and C."""
        return max(self.outer.batch, self.inner.batch)

    @property
    def abs_operator(self) -> Operator | None:
        """The product of theirs."""
        outer, inner = self.outer.abs_operator, self.inner.abs_operator
        return None if outer is None or inner is None else Composed(outer, inner)

    def normal(self, x: Image) -> Image:
        """C*(B*B)Cx."""
        return self.inner.adjoint(self.outer.normal(self.inner.forward(x)))


@dataclass(frozen=True, eq=False)
class Several(Operator, ABC):
    """Made of operators on images of one shape.

    Args:
        operators: at least one.
    """

    operators: tuple[Operator, ...]

    @cached_property
    def linear(self) -> bool:
        """Whether all are."""
        return all(operator.linear for operator in self.operators)

    @property
    def linear_samples(self) -> tuple[bool, ...]:
        """Those of which all are."""
        return linear_together(self.operators)

    def tangent(self, like: Tensor) -> Operator:
        """Made of theirs, each at its own reference."""
        if self.linear:
            return self
        return replace(self, operators=tuple(A.tangent(like) for A in self.operators))

    @property
    def complex_images(self) -> bool:
        return any(operator.complex_images for operator in self.operators)

    @property
    def complex_measurements(self) -> bool:
        return any(operator.complex_measurements for operator in self.operators)

    @property
    def image_shape(self) -> Shape:
        return self.operators[0].image_shape

    @property
    def batch(self) -> int:
        """The largest of theirs."""
        return max(operator.batch for operator in self.operators)


@dataclass(frozen=True, eq=False)
class Stacked(Several):
    """Ax = (A₁x, A₂x, …), each flattened, so that A*A = Σ A_i*A_i.

    Args:
        operators: A_i, at least one, all of images of the same shape.

    Raises:
        ShapeError: there is none, or they differ in their images or numbers of samples.
    """

    def __post_init__(self) -> None:
        shapes = {operator.image_shape for operator in self.operators}
        if len(shapes) != 1:
            raise ShapeError(
                f"Stacked: the operators take images of {sorted(shapes)}; they must be of one "
                "shape, and there must be at least one operator."
            )
        same_samples("Stacked", self.operators)

    @property
    def measurement_shape(self) -> Shape:
        return (sum(self._sizes),)

    @property
    def _sizes(self) -> list[int]:
        return [prod(operator.measurement_shape) for operator in self.operators]

    def forward(self, x: Image) -> Measurement:
        return torch.cat([operator.forward(x).flatten(1) for operator in self.operators], 1)

    def adjoint(self, y: Measurement) -> Image:
        pairs = zip(self.operators, self.split(y), strict=True)
        return torch.stack([self._adjoint(operator, part) for operator, part in pairs]).sum(0)

    def linearize(self, x: Image) -> Operator:
        """The stack of theirs."""
        if self.linear:
            return self
        return Stacked(tuple(operator.linearize(x) for operator in self.operators))

    def linearized_data(self, y: Measurement) -> Measurement:
        """What each of them has, by its own reference."""
        if self.linear:
            return y
        self._expect("linearized_data", y, self.measurement_shape)
        pairs = zip(self.operators, self.split(y), strict=True)
        parts = [operator.linearized_data(self._own(operator, part)) for operator, part in pairs]
        return torch.cat([part.flatten(1) for part in parts], 1)

    def _adjoint(self, operator: Operator, part: Tensor) -> Image:
        """Of real images, Re(A_i*y_i)."""
        return operator.adjoint(self._own(operator, part))

    def _own(self, operator: Operator, part: Tensor) -> Tensor:
        """What is real stands as complex beside complex laws."""
        mixed = self.complex_measurements and not self.complex_images
        real = mixed and part.is_complex() and not operator.complex_measurements
        return part.real if real else part

    @property
    def abs_operator(self) -> Operator | None:
        """The stack of theirs."""
        found = [operator.abs_operator for operator in self.operators]
        known = tuple(operator for operator in found if operator is not None)
        return Stacked(known) if len(known) == len(found) else None

    def normal(self, x: Image) -> Image:
        """Σ A_i*A_i x."""
        return torch.stack([operator.normal(x) for operator in self.operators]).sum(0)

    def split(self, y: Measurement) -> list[Tensor]:
        """What each operator measured, in its own shape."""
        pairs = zip(self.operators, torch.split(y, self._sizes, 1), strict=True)
        return [part.reshape(-1, *operator.measurement_shape) for operator, part in pairs]
