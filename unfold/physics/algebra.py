"""Operators made of operators: products, sums, stacks and adjoints."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.operator import ALGEBRA, LinearOperator, Operator
from unfold.pytree import over, same_as
from unfold.typing import Image, Measurement, Shape


def same_samples(owner: str, operators: tuple[Operator, ...]) -> None:
    """Raise a `ShapeError` where operators have different numbers of samples."""
    batches = {operator.batch for operator in operators} - {1}
    if len(batches) > 1:
        raise ShapeError(
            f"{owner}: the operators have {sorted(batches)} samples; pass operators of one "
            "batch, or that are the same for all."
        )


@dataclass(frozen=True, eq=False)
class Composite(LinearOperator, ABC):
    """Made of other operators, by default on images of one shape; linear where all of them are."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Operator, ...]:
        """The operators that it is made of."""

    @abstractmethod
    def with_parts(self, parts: tuple[Operator, ...]) -> Operator:
        """The same of other operators."""

    @cached_property
    def linear(self) -> bool:  # type: ignore[override]
        return all(part.linear for part in self.parts)

    @property
    def linear_samples(self) -> tuple[bool, ...]:
        each = [part.linear_samples for part in self.parts]
        return tuple(all(own[i % len(own)] for own in each) for i in range(max(map(len, each))))

    def linearize(self, x: Image) -> Operator:
        if self.linear:
            return self
        return self.with_parts(tuple(part.linearize(x) for part in self.parts))

    def tangent(self, like: Tensor) -> Operator:
        """Made of their tangents, each at its own reference."""
        if self.linear:
            return self
        return self.with_parts(tuple(part.tangent(like) for part in self.parts))

    @property
    def image_shape(self) -> Shape:
        return self.parts[0].image_shape

    @property
    def measurement_shape(self) -> Shape:
        return self.parts[0].measurement_shape

    complex_images = over("parts", any, "complex_images")
    complex_measurements = over("parts", any, "complex_measurements")
    batch = over("parts", max, "batch")

    @property
    def abs_operator(self) -> Operator | None:
        found = [part.abs_operator for part in self.parts]
        known = tuple(operator for operator in found if operator is not None)
        return self.with_parts(known) if len(known) == len(found) else None


@dataclass(frozen=True, eq=False)
class Composed(Composite):
    """Ax = B(Cx), so that A* = C*B*, and J(x) = J_B(Cx) J_C(x) where they are not linear.

    Args:
        outer: B.
        inner: C, whose measurements are the images of B.
    """

    outer: Operator
    inner: Operator

    def __post_init__(self) -> None:
        if self.inner.measurement_shape != self.outer.image_shape:
            raise ShapeError(
                f"Composed: {type(self.inner).__name__} makes {self.inner.measurement_shape} and "
                f"{type(self.outer).__name__} takes {self.outer.image_shape}."
            )
        same_samples("Composed", self.parts)
        taken, made = self.outer.complex_images, self.inner.complex_measurements
        either = self.outer.linear and not taken  # a real linear map takes both kinds
        if not self.linear and not either and taken != made:
            kinds = ("real", "complex")
            raise ShapeError(
                f"Composed: {type(self.inner).__name__} makes {kinds[made]} measurements and "
                f"{type(self.outer).__name__} takes {kinds[taken]} images; where one of them is "
                "not linear they must agree."
            )

    @property
    def parts(self) -> tuple[Operator, ...]:
        return self.outer, self.inner

    def with_parts(self, parts: tuple[Operator, ...]) -> Operator:
        return Composed(*parts)

    def linearize(self, x: Image) -> Operator:
        """By the chain rule."""
        if self.linear:
            return self
        outer = self.outer.linearize(self.inner.forward(x))
        return Composed(outer, self.inner.linearize(x))

    reference = same_as("inner.reference")

    def _linearized_data(self, y: Measurement) -> Measurement:
        """y − b_B − J_B b_C, where B(v) ≈ b_B + J_B v and C(x) ≈ b_C + J_C x."""
        rest = self.outer.linearized_data(y)
        if self.inner.linear:
            return rest
        return rest - self.outer.tangent(y).forward(self.inner.offset(y))

    @property
    def complex_images(self) -> bool:
        lifted = self.outer.complex_images and not self.inner.complex_measurements
        return self.inner.complex_images or lifted

    image_shape = same_as("inner.image_shape")

    @property
    def complex_measurements(self) -> bool:
        passed = self.inner.complex_measurements and not self.outer.complex_images
        return self.outer.complex_measurements or passed

    def forward(self, x: Image) -> Measurement:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Measurement) -> Image:
        return self.inner.adjoint(self.outer.adjoint(y))

    def normal(self, x: Image) -> Image:
        """C*(B*B)Cx."""
        return self.inner.adjoint(self.outer.normal(self.inner.forward(x)))


@dataclass(frozen=True, eq=False)
class Several(Composite, ABC):
    """Made of operators on images of one shape, at least one."""

    operators: tuple[Operator, ...]

    parts = same_as("operators")

    def with_parts(self, parts: tuple[Operator, ...]) -> Operator:
        return replace(self, operators=parts)

    def of_kind(self, operator: Operator, y: Tensor) -> Tensor:
        """y as `operator` measures it: of real images, real among complex measurements."""
        mixed = self.complex_measurements and not self.complex_images
        real = mixed and y.is_complex() and not operator.complex_measurements
        return y.real if real else y


@dataclass(frozen=True, eq=False)
class Stacked(Several):
    """Ax = (A₁x, A₂x, …), each flattened, so that A*A = Σ A_i*A_i.

    Args:
        operators: A_i, at least one, all of images of the same shape.
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
        """Σ A_i*y_i; Re(A_i*y_i) of real images."""
        pairs = zip(self.operators, self.split(y), strict=True)
        return torch.stack([A.adjoint(self.of_kind(A, part)) for A, part in pairs]).sum(0)

    def normal(self, x: Image) -> Image:
        """Σ A_i*A_i x."""
        return torch.stack([operator.normal(x) for operator in self.operators]).sum(0)

    def _linearized_data(self, y: Measurement) -> Measurement:
        pairs = zip(self.operators, self.split(y), strict=True)
        parts = [A.linearized_data(self.of_kind(A, part)) for A, part in pairs]
        return torch.cat([part.flatten(1) for part in parts], 1)

    def split(self, y: Measurement) -> list[Tensor]:
        """What each operator measured, in its own shape."""
        pairs = zip(self.operators, torch.split(y, self._sizes, 1), strict=True)
        return [part.reshape(-1, *operator.measurement_shape) for operator, part in pairs]


@dataclass(frozen=True, eq=False)
class OperatorSum(Several):
    """Ax = A₁x + A₂x + …, so that A*y = Σ A_i*y.

    Args:
        operators: A_i, at least one, all of the same shapes.
    """

    def __post_init__(self) -> None:
        shapes = {(A.image_shape, A.measurement_shape) for A in self.operators}
        if len(shapes) != 1:
            raise ShapeError(
                f"OperatorSum: operators of images and measurements of {sorted(shapes)}."
            )
        same_samples("OperatorSum", self.operators)

    def forward(self, x: Image) -> Measurement:
        first, *others = (operator.forward(x) for operator in self.operators)
        return sum(others, start=first)

    def adjoint(self, y: Measurement) -> Image:
        first, *others = (A.adjoint(self.of_kind(A, y)) for A in self.operators)
        return sum(others, start=first)

    def _linearized_data(self, y: Measurement) -> Measurement:
        """y − Σ b_i, where A_i(x) ≈ b_i + J_i x."""
        for operator in self.operators:
            y = y if operator.linear else y - operator.offset(y)
        return y


@dataclass(frozen=True, eq=False)
class Unary(Composite, ABC):
    """Made of one operator."""

    operator: Operator

    @property
    def parts(self) -> tuple[Operator, ...]:
        return (self.operator,)

    def with_parts(self, parts: tuple[Operator, ...]) -> Operator:
        return replace(self, operator=parts[0])


@dataclass(frozen=True, eq=False)
class Adjoint(Unary):
    """Ax = B*x, the adjoint of a linear operator.

    Args:
        operator: B.
    """

    def __post_init__(self) -> None:
        if not self.operator.linear:
            raise ConfigError(f"{type(self.operator).__name__}.H: it is not linear.")

    H = same_as("operator")
    image_shape = same_as("operator.measurement_shape")
    measurement_shape = same_as("operator.image_shape")
    complex_images = same_as("operator.complex_measurements")
    complex_measurements = same_as("operator.complex_images")
    norm_squared = same_as("operator.norm_squared")
    norm_bound = same_as("operator.norm_bound")
    forward = same_as("operator.adjoint")
    adjoint = same_as("operator.forward")


ALGEBRA.update(compose=Composed, add=OperatorSum, adjoint=Adjoint)
