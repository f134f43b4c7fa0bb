"""Operators that see what another one sees, in another way."""

from dataclasses import dataclass

from torch import Tensor

from unfold.physics.operator import Operator
from unfold.typing import Image, Shape


@dataclass(frozen=True, eq=False)
class Wrapped(Operator):
    """An operator with the images and the measurements of another.

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
