"""Real images through an operator of complex ones."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unfold.physics.algebra import Unary
from unfold.physics.operator import LinearOperator, Operator
from unfold.typing import Image, Measurement, PerImage


@dataclass(frozen=True, eq=False)
class RealImages(Unary):
    """Ax = Bx for real x, so that A*y = Re B*y.

    A is linear over the real numbers only, ⟨u, v⟩ = Re Σ ū v being the inner product of complex
    measurements. Its norm is at most that of B, and is found for real images.

    Args:
        operator: B, which acts on complex images.
    """

    complex_images = False

    def linearize(self, x: Image) -> Operator:
        """Of real images through that of B."""
        return super().linearize(x.to(x.dtype.to_complex()))

    def reference(self, like: Tensor) -> Image:
        """The real part of that of B."""
        return self.operator.reference(like).real

    def linearized_data(self, y: Measurement) -> Measurement:
        """Those of B."""
        return self.operator.linearized_data(y)

    @property
    def complex_measurements(self) -> bool:
        """Those of complex images, unless B makes real ones of them."""
        return self.operator.complex_measurements or not self.operator.complex_images

    @cached_property
    def norm_bound(self) -> PerImage:
        """That of B where it overrides it; else ‖A‖², which is smaller."""
        if type(self.operator).norm_bound is Operator.norm_bound:
            return self.norm_squared
        return self.operator.norm_bound

    def forward(self, x: Image) -> Measurement:
        return self.operator.forward(x.to(x.dtype.to_complex()))

    def adjoint(self, y: Measurement) -> Image:
        return self.operator.adjoint(y).real


@dataclass(frozen=True, eq=False)
class RealPart(LinearOperator):
    """Stands before an operator of complex images among the bases of one for real images.

    A*y is the real part. A closed form stays where it makes real images of real ones, as A*A often
    does; the others are for the subclass to write.
    """

    complex_images = False
    complex_measurements = True

    def adjoint(self, y: Measurement) -> Image:
        return super().adjoint(y).real  # type: ignore[safe-super]  # the next base has one
