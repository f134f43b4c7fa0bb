"""Operators made of operators: products, stacks and multiples."""

from abc import ABC
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.operator import Operator
from unfold.physics.wrapped import Wrapped
from unfold.tree import per_image
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class Composed(Operator):
    """Ax = B(Cx), so that A* = C*B*.

    Args:
        outer: B.
        inner: C, whose measurements are the images of B.

    Raises:
        ShapeError: they are not, or C and B belong to different numbers of samples.
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

    @property
    def complex_images(self) -> bool:
        return self.inner.complex_images or (
            self.outer.complex_images and not self.inner.complex_measurements
        )

    @property
    def complex_measurements(self) -> bool:
        return self.outer.complex_measurements or self.inner.complex_measurements

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
    def majorant(self) -> Operator | None:
        """The product of theirs."""
        outer, inner = self.outer.majorant, self.inner.majorant
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

    def _adjoint(self, operator: Operator, part: Tensor) -> Image:
        """Of real images, Re(A_i*y_i): what is real stands as complex beside complex laws."""
        mixed = self.complex_measurements and not self.complex_images
        real = mixed and part.is_complex() and not operator.complex_measurements
        return operator.adjoint(part.real if real else part)

    @property
    def majorant(self) -> Operator | None:
        """The stack of theirs."""
        found = [operator.majorant for operator in self.operators]
        known = tuple(operator for operator in found if operator is not None)
        return Stacked(known) if len(known) == len(found) else None

    def normal(self, x: Image) -> Image:
        """Σ A_i*A_i x."""
        return torch.stack([operator.normal(x) for operator in self.operators]).sum(0)

    def split(self, y: Measurement) -> list[Tensor]:
        """What each operator measured, in its own shape."""
        pairs = zip(self.operators, torch.split(y, self._sizes, 1), strict=True)
        return [part.reshape(-1, *operator.measurement_shape) for operator, part in pairs]


@dataclass(frozen=True, eq=False)
class Scaled(Wrapped):
    """Ax = s Bx, with every closed form that B has.

    Args:
        operator: B.
        scale: s, real, not 0, (B or 1,): one number for each sample, or for all.

    Raises:
        ShapeError: the scale is not a vector, or of another number of samples.
    """

    scale: Tensor

    def __post_init__(self) -> None:
        if self.scale.ndim != 1 or self.scale.is_complex():
            raise ShapeError(
                f"Scaled.scale must be real, (batch or 1,), got {tuple(self.scale.shape)} of "
                f"{self.scale.dtype}."
            )
        if len(self.scale) != 1 != self.operator.batch != len(self.scale):
            raise ShapeError(
                f"Scaled: {len(self.scale)} numbers for an operator of {self.operator.batch} "
                "samples; pass one for each, or one for all."
            )

    def forward(self, x: Image) -> Measurement:
        return per_image(self.scale, x) * self.operator.forward(x)

    def adjoint(self, y: Measurement) -> Image:
        return self.operator.adjoint(per_image(self.scale, y) * y)

    def normal(self, x: Image) -> Image:
        """s² B*Bx."""
        return per_image(self.scale**2, x) * self.operator.normal(x)

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """(I + γs² B*B)⁻¹b."""
        own = gamma * per_image(self.scale**2, b)
        return self.operator.solve_normal(b, own.expand(len(b), *own.shape[1:]), start)

    @cached_property
    def norm_squared(self) -> PerImage:
        """s² ‖B‖²."""
        return self.scale.detach() ** 2 * self.operator.norm_squared.to(self.scale.device)

    @cached_property
    def norm_bound(self) -> PerImage:
        """s² times that of B."""
        return self.scale.detach() ** 2 * self.operator.norm_bound.to(self.scale.device)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """B⁺y / s."""
        return self.operator.pseudo_inverse(y / per_image(self.scale, y))


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
