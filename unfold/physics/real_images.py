"""Real images through an operator of complex ones."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement, PerImage, Shape


@dataclass(frozen=True, eq=False)
class RealImages(Operator):
    """Ax = Bx for real x, so that A*y = Re B*y.

    A is linear over the real numbers alone, ⟨u, v⟩ = Re Σ ū v being the inner product of complex
    measurements. Its norm is at most that of B, and is found for real images.

    Args:
        operator: B, which acts on complex images.
    """

    operator: Operator

    @property
    def linear(self) -> bool:
        return self.operator.linear

    @property
    def linear_samples(self) -> tuple[bool, ...]:
        """Those of B."""
        return self.operator.linear_samples

    def linearize(self, x: Image) -> Operator:
        """Of real images through that of B."""
        if self.linear:
            return self
        return RealImages(self.operator.linearize(x.to(x.dtype.to_complex())))

    def reference(self, like: Tensor) -> Image:
        """The real part of that of B."""
        return self.operator.reference(like).real

    def tangent(self, like: Tensor) -> Operator:
        """Of real images through that of B."""
        return self if self.linear else RealImages(self.operator.tangent(like))

    def linearized_data(self, y: Measurement) -> Measurement:
        """What B has."""
        return self.operator.linearized_data(y)

    @property
    def complex_images(self) -> bool:
        return False

    @property
    def complex_measurements(self) -> bool:
        """Those of complex images, unless B makes real ones of them."""
        return self.operator.complex_measurements or not self.operator.complex_images

    @property
    def image_shape(self) -> Shape:
        return self.operator.image_shape

    @property
    def measurement_shape(self) -> Shape:
        return self.operator.measurement_shape

    @cached_property
    def norm_bound(self) -> PerImage:
        """That of B where it has one of its own; else ‖A‖², which is smaller."""
        if type(self.operator).norm_bound is Operator.norm_bound:
            return self.norm_squared
        return self.operator.norm_bound

    def forward(self, x: Image) -> Measurement:
        return self.operator.forward(x.to(x.dtype.to_complex()))

    def adjoint(self, y: Measurement) -> Image:
        return self.operator.adjoint(y).real


@dataclass(frozen=True, eq=False)
class RealPart(Operator):
    """Stands before an operator of complex images among the bases of one for real images.

    A*y is the real part. A closed form stays where it makes real images of real ones, as A*A often
    does; the others are for the subclass to write.
    """

    @property
    def complex_images(self) -> bool:
        return False

    @property
    def complex_measurements(self) -> bool:
        return True

    def adjoint(self, y: Measurement) -> Image:
        return super().adjoint(y).real  # type: ignore[safe-super]  # the next base has one
