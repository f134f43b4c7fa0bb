"""Operators that see what another one sees, in another way."""

from dataclasses import dataclass, replace

from torch import Tensor

from unfold.physics.operator import Operator
from unfold.typing import Image, Shape


@dataclass(frozen=True, eq=False)
class Wrapped(Operator):
    """An operator with the images and the measurements of another.

    Subclasses are linear in what that one makes, so that a derivative is that of it, wrapped.

    Args:
        operator: the other one.
    """

    operator: Operator

    @property
    def anchor(self) -> Tensor:
        return self.operator.anchor

    @property
    def linear(self) -> bool:
        return self.operator.linear

    def reference(self, like: Tensor) -> Image:
        return self.operator.reference(like)

    def linearised(self, x: Image) -> Operator:
        return self if self.linear else replace(self, operator=self.operator.linearised(x))

    def tangent(self, like: Tensor) -> Operator:
        return self if self.linear else replace(self, operator=self.operator.tangent(like))

    @property
    def image_shape(self) -> Shape:
        return self.operator.image_shape

    @property
    def measurement_shape(self) -> Shape:
        return self.operator.measurement_shape

    @property
    def entries(self) -> tuple[int, ...]:
        """Those of the other one."""
        return self.operator.entries

    @property
    def batch(self) -> int:
        return self.operator.batch

    @property
    def complex_images(self) -> bool:
        return self.operator.complex_images

    @property
    def complex_measurements(self) -> bool:
        return self.operator.complex_measurements
