"""Operators that see what another one sees, in another way."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from unfold.physics.operator import Operator
from unfold.typing import Field, Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Wrapped(Operator, ABC):
    """Ax = L(Bx), with the images of B and, unless a subclass says other ones, its measurements.

    Subclasses write L, `seen`, which is linear: a derivative is that of B, wrapped.

    Args:
        operator: B.
    """

    operator: Operator

    @abstractmethod
    def seen(self, v: Field) -> Measurement:
        """L(v), of what B makes."""

    def forward(self, x: Image) -> Measurement:
        return self.seen(self.operator.forward(x))

    @property
    def anchor(self) -> Tensor:
        return self.operator.anchor

    @property
    def linear(self) -> bool:
        return self.operator.linear

    @property
    def linear_samples(self) -> tuple[bool, ...]:
        """Those of B."""
        return self.operator.linear_samples

    def reference(self, like: Tensor) -> Image:
        return self.operator.reference(like)

    def linearised(self, x: Image) -> Operator:
        return self if self.linear else replace(self, operator=self.operator.linearised(x))

    def tangent(self, like: Tensor) -> Operator:
        return self if self.linear else replace(self, operator=self.operator.tangent(like))

    def recentred(self, y: Measurement) -> Measurement:
        """y − L(b), where B(x) ≈ b + Jx."""
        if self.linear:
            return y
        self._expect("recentred", y, self.measurement_shape)
        return y - self.seen(self.operator.offset(y))

    @property
    def image_shape(self) -> Shape:
        return self.operator.image_shape

    @property
    def measurement_shape(self) -> Shape:
        return self.operator.measurement_shape

    @property
    def entries(self) -> tuple[int, ...]:
        """Those of B."""
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
