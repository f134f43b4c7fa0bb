"""Linear operators: frozen dataclasses of tensors, with algebra and without randomness."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple, TypeVar

from torch import Tensor

from unfold.errors import ShapeError
from unfold.solvers.conjugate_gradient import solve_normal
from unfold.solvers.least_norm import least_norm
from unfold.solvers.power import norm_squared, positive_bound
from unfold.tree import take, tensors, to_like
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape

O = TypeVar("O", bound="Operator")  # noqa: E741

BASELINE_TOL = 1e-4
"""Of a pseudo-inverse by iterations to compare with: far below the noise, and soon reached."""


class LinearBaseline(NamedTuple):
    """What one linear map makes of a measurement.

    method: the name of the map, as it stands in tables.
    image: the image.
    """

    method: str
    image: Image


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """A linear map y = Ax from images (B, C, H, W) to measurements (B, …), real or complex.

    What belongs to a sample (kernel, mask) carries the batch dimension, or 1 for all of them.
    Subclasses write `forward`, `adjoint` and the two shapes, and override what they know in closed
    form: `normal`, `solve_normal`, `norm_squared`, `pseudo_inverse`.
    """

    pickles: ClassVar[bool] = True
    """Whether it can be pickled; one that holds foreign objects may not be."""

    @property
    @abstractmethod
    def image_shape(self) -> Shape:
        """(C, H, W) of one image."""

    @property
    @abstractmethod
    def measurement_shape(self) -> Shape:
        """The shape of one measurement."""

    @cached_property
    def complex_images(self) -> bool:
        """Whether its images are complex by nature; a real operator takes images of both kinds."""
        return any(t.is_complex() for t in tensors(self))

    @cached_property
    def complex_measurements(self) -> bool:
        """Whether the measurement is complex, also that of a real image."""
        return self.complex_images

    @abstractmethod
    def forward(self, x: Image) -> Measurement:
        """Ax, shapes already checked."""

    @abstractmethod
    def adjoint(self, y: Measurement) -> Image:
        """A*y, shapes already checked."""

    def A(self, x: Image) -> Measurement:
        """Ax.

        Raises:
            ShapeError: the image does not have `image_shape`, the batch is another, or it is real
                where the operator's are complex, or the other way round.
        """
        self._expect("A", x, self.image_shape)
        if x.is_complex() != self.complex_images and self.complex_measurements:
            kind = "complex" if self.complex_images else "real"
            raise ShapeError(
                f"{type(self).__name__}.A expects {kind} images, got {x.dtype} of "
                f"{tuple(x.shape)}; a real image as a complex one is x + 0j, and "
                "`Physics.complex_operator` draws operators of complex images."
            )
        return self.forward(x)

    def A_adjoint(self, y: Measurement) -> Image:
        """A*y.

        Raises:
            ShapeError: the measurement does not have `measurement_shape`, the batch is another, or
                it is real where the operator's are complex.
        """
        self._expect("A_adjoint", y, self.measurement_shape)
        if self.complex_measurements and not y.is_complex():
            raise ShapeError(
                f"{type(self).__name__}.A_adjoint expects complex measurements, got {y.dtype}; "
                "real and imaginary parts are one complex number, not two channels: "
                "torch.complex(re, im)."
            )
        return self.adjoint(y)

    def normal(self, x: Image) -> Image:
        """A*Ax."""
        return self.adjoint(self.forward(x))

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """(I + γA*A)⁻¹b, by conjugate gradients unless the subclass knows better.

        Args:
            b: the right-hand side.
            gamma: γ > 0; a number, or (B, 1, 1, 1).
            start: an image near the answer, from which iterations begin; a closed form needs none.
        """
        return solve_normal(self, b, gamma, start=start)

    def precondition(self, r: Image, gamma: Scalar) -> Image:
        """Near (I + γA*A)⁻¹r by a Hermitian positive definite map, for iterative solves; or r."""
        return r

    @cached_property
    def norm_squared(self) -> PerImage:
        """(B,) or (1,): ‖A‖², or a tight upper bound; never below it. Carries no gradient."""
        return norm_squared(self)

    @property
    def majorant(self) -> "Operator | None":
        """An operator that bounds |A| entry by entry, where one of the same cost is at hand."""
        return None

    @cached_property
    def norm_bound(self) -> PerImage:
        """(B,) or (1,): never below ‖A‖², and soon found: what steps are relative to.

        It is `norm_squared` where that is in closed form. Where it takes a long iteration, a few
        steps of one for the majorant bound it as surely.
        """
        above = self.majorant
        if above is None or type(self).norm_squared is not Operator.norm_squared:
            return self.norm_squared
        return positive_bound(above)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A⁺y, the least-squares image of least norm."""
        return least_norm(self, y)

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        """What methods are compared with: A⁺y, or what practice takes where A⁺ ruins by noise."""
        if type(self).pseudo_inverse is Operator.pseudo_inverse:
            return LinearBaseline("pseudo_inverse", least_norm(self, y, tol=BASELINE_TOL))
        return LinearBaseline("pseudo_inverse", self.pseudo_inverse(y))

    def to_like(self: O, x: Tensor) -> O:
        """The same operator on the device and in the precision of `x`."""
        return to_like(self, x)

    def take(self: O, positions: Tensor, batch: int) -> O:
        """The operator of some samples of a batch."""
        return take(self, positions, batch)

    @cached_property
    def batch(self) -> int:
        """How many samples the operator belongs to; 1 where it is the same for all."""
        return max((t.shape[0] for t in tensors(self) if t.ndim), default=1)

    def _expect(self, method: str, t: Tensor, shape: Shape) -> None:
        if t.shape[1:] != shape:
            want = ", ".join(map(str, ("batch", *shape)))
            raise ShapeError(
                f"{type(self).__name__}.{method} expects ({want}), got {tuple(t.shape)}."
            )
        if t.shape[0] != self.batch != 1 or t.shape[0] == 0:
            raise ShapeError(
                f"{type(self).__name__}.{method}: the operator belongs to {self.batch} samples and "
                f"the batch holds {t.shape[0]}; pass one operator for each, or one for all."
            )
        if not (t.is_floating_point() or t.is_complex()):
            raise ShapeError(
                f"{type(self).__name__}.{method} expects a floating-point or complex tensor, "
                f"got {t.dtype}; convert it with .float()."
            )
