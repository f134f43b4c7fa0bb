"""Operators: frozen dataclasses of tensors, with algebra and without randomness."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.pytree import take, tensors, to_like
from unfold.random import generator
from unfold.shapes import expect_shape
from unfold.solvers.conjugate_gradient import Until, solve_normal
from unfold.solvers.linear_map import LinearMap, norm_squared, positive_bound
from unfold.solvers.lsqr import least_norm
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape

O = TypeVar("O", bound="Operator")  # noqa: E741

ALGEBRA: dict[str, Callable[..., "Operator"]] = {}
"""What `A @ B`, `A + B`, `s * A` and `A.H` make; `algebra` registers its classes here."""

Axis = int | str | tuple[int, ...]
"""Of a tensor: a size, several sizes that it may have, or the name of any size."""

EACH: Axis = "batch or 1"


class LinearBaseline(NamedTuple):
    """The image that one linear map makes of a measurement, and its name in tables."""

    method: str
    image: Image


@dataclass(frozen=True, eq=False)
class Operator(LinearMap, ABC):
    """A from images (B, C, H, W) to measurements (B, …), real or complex, with its derivative J.

    A `LinearOperator` is its own derivative; a `NonlinearOperator` is linearized at an image, and
    refuses what needs A*. Tensors of a sample (kernel, mask) carry the batch dimension, or 1 for
    all samples. A shape or a flag is a field, a class attribute or a property.
    """

    pickles: ClassVar[bool] = True
    """Whether it can be pickled; one that holds foreign objects may not be."""

    acquired: ClassVar[Tensor | None] = None  # of a grid: 1 where an entry of y is measured, else 0

    nonnegative: ClassVar[bool] = False
    """Whether no entry of the matrix of A is negative."""

    if TYPE_CHECKING:  # at run time a property of the base would be the default of a field

        @property
        def image_shape(self) -> Shape:
            """(C, H, W) of one image."""

    @property
    def measurement_shape(self) -> Shape:
        """The shape of one measurement; that of the image by default."""
        return self.image_shape

    @property
    @abstractmethod
    def linear(self) -> bool:
        """Whether A is linear; otherwise J(x)* replaces A*."""

    @property
    def linear_samples(self) -> tuple[bool, ...]:
        """Whether A is linear: of each sample, or one for all."""
        return (self.linear,)

    @cached_property
    def complex_images(self) -> bool:
        """Whether images are complex; a real operator takes images of both kinds."""
        return any(t.is_complex() for t in tensors(self))

    @cached_property
    def complex_measurements(self) -> bool:
        """Whether the measurement is complex, also that of a real image."""
        return self.complex_images

    @property
    def entries(self) -> tuple[int, ...]:
        """How many numbers a measurement has: of each sample, or one for all."""
        return (prod(self.measurement_shape),)

    @cached_property
    def batch(self) -> int:
        """How many samples the operator has; 1 where it is the same for all."""
        return max((t.shape[0] for t in tensors(self) if t.ndim), default=1)

    @property
    def anchor(self) -> Tensor:
        """A tensor with the precision and the device of A; a default one where A holds none."""
        held = [t for t in tensors(self) if t.is_floating_point() or t.is_complex()]
        return held[0] if held else torch.empty(())

    def to_like(self: O, x: Tensor) -> O:
        """The same operator on the device and in the precision of `x`."""
        return to_like(self, x)

    def take(self: O, positions: Tensor, batch: int) -> O:
        """The operator of some samples of a batch."""
        return take(self, positions, batch)

    def A(self, x: Image) -> Measurement:
        """Ax, a real image being a complex one too; a `ShapeError` where `x` does not fit."""
        self._expect("A", x, self.image_shape)
        real_only = not self.complex_images and (self.complex_measurements or not self.linear)
        if self.complex_images and not x.is_complex():
            x = x.to(x.dtype.to_complex())
        elif x.is_complex() and real_only:
            raise ShapeError(
                f"{type(self).__name__}.A expects real images, got {x.dtype} of {tuple(x.shape)}; "
                "`Physics.complex_operator` samples operators of complex images."
            )
        return self.forward(x)

    def A_adjoint(self, y: Measurement) -> Image:
        """A*y; refused where A is not linear."""
        self._refuse("A_adjoint")

    def adjoint(self, y: Measurement) -> Image:
        """A*y, shapes already checked; refused where A is not linear."""
        self._refuse("adjoint")

    def normal(self, x: Image) -> Image:
        """A*Ax; refused where A is not linear."""
        self._refuse("normal")

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: Until = None
    ) -> Image:
        """(I + γA*A)⁻¹b, γ > 0 a number or (B, 1, 1, 1); refused where A is not linear.

        Iterations begin at `start` and end as `tol` says; closed forms need neither.
        """
        self._refuse("solve_normal")

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A⁺y; refused where A is not linear."""
        self._refuse("pseudo_inverse")

    @property
    def H(self) -> "Operator":
        """A* as an operator; `A.H.H` is A."""
        return ALGEBRA["adjoint"](self)

    def __matmul__(self, inner: "Operator") -> "Operator":
        """A @ B: x ↦ A(Bx)."""
        return ALGEBRA["compose"](self, inner)

    def __add__(self, other: "Operator") -> "Operator":
        """A + B, of equal shapes."""
        return ALGEBRA["add"]((self, other))

    def __rmul__(self, scale: float | int) -> "Operator":
        """s A, s real and not 0."""
        return ALGEBRA["scale"](self, scale)

    @abstractmethod
    def linearize(self, x: Image) -> "Operator":
        """J(x), the derivative of A at an image, as a linear operator: A itself where A is."""

    def vjp(self, x: Image, u: Measurement) -> Image:
        """J(x)*u, the vector–Jacobian product: A*u whatever x, where A is linear."""
        return self.linearize(x).adjoint(u)

    def least_squares_gradient(self, x: Image, y: Measurement, At_y: Image) -> Image:
        """∇ ½‖A(x) − y‖²: A*Ax − A*y with A*y known, or J(x)*(A(x) − y)."""
        return self.normal(x) - At_y if self.linear else self.vjp(x, self.A(x) - y)

    def reference(self, like: Tensor) -> Image:
        """x̄ = ½, one per sample: where a nonlinear A is linearized before an image is known."""
        kind = like.dtype.to_complex() if self.complex_images else like.dtype.to_real()
        return torch.full((self.batch, *self.image_shape), 0.5, dtype=kind, device=like.device)

    def tangent(self, like: Tensor) -> "Operator":
        """J(x̄), which replaces A before an image is known: A where linear."""
        return self if self.linear else self.linearize(self.reference(like))

    def linearized_data(self, y: Measurement) -> Measurement:
        """y − A(x̄) + J(x̄)x̄: what J(x̄) would have measured of the image; y where A is linear."""
        if self.linear:
            return y
        self._expect("linearized_data", y, self.measurement_shape)
        return self._linearized_data(y)

    def _linearized_data(self, y: Measurement) -> Measurement:
        x = self.reference(y).expand(len(y), *self.image_shape)
        return y - self.forward(x) + self.tangent(y).forward(x)

    def offset(self, like: Tensor) -> Measurement:
        """b = A(x̄) − J(x̄)x̄, so that A(x) ≈ b + J(x̄)x: one for each sample of `like`."""
        kind = like.dtype.to_complex() if self.complex_measurements else like.dtype.to_real()
        shape = (len(like), *self.measurement_shape)
        return -self.linearized_data(torch.zeros(shape, dtype=kind, device=like.device))

    def back_project(self, y: Measurement) -> Image:
        """A*y; where A is not linear, that of its tangent: J(x̄)*(y − A(x̄) + J(x̄)x̄)."""
        return self.tangent(y).A_adjoint(self.linearized_data(y))

    @property
    def start_image(self) -> Image:
        """The same Gaussian image for every sample, of norm 1, from which norms are iterated."""
        real = self.anchor.dtype.to_real()
        kind = real.to_complex() if self.complex_images else real
        numbers = generator("norm_squared").standard_normal((1, *self.image_shape))
        q = torch.from_numpy(numbers).to(dtype=kind, device=self.anchor.device)
        start: Tensor = q / torch.linalg.vector_norm(q)
        return start.expand(self.batch, *self.image_shape)

    @cached_property
    def norm_squared(self) -> PerImage:
        """(B,) or (1,): ‖A‖², or a tight upper bound; never below it. Carries no gradient.

        Where A is not linear it is ‖J(x̄)‖²: a scale for steps, and no bound.
        """
        if self.linear:
            return norm_squared(self, self.start_image)
        found = self.tangent(self.anchor).norm_squared.detach()
        if not bool((found > 0).all()):
            raise ConfigError(
                f"{type(self).__name__}: its derivative at the reference image, to which steps are "
                "relative, is 0 or not finite; choose another image, or override norm_squared."
            )
        return found

    @property
    def abs_operator(self) -> "Operator | None":
        """An operator that bounds |A| entry by entry, where one of the same cost exists."""
        return self if self.nonnegative else None

    @cached_property
    def norm_bound(self) -> PerImage:
        """(B,) or (1,): `norm_squared`, or a cheap bound of it by `abs_operator`, for steps."""
        above = self.abs_operator
        if above is None or type(self).norm_squared is not Operator.norm_squared:
            return self.norm_squared
        return positive_bound(above, torch.ones_like(above.start_image))

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        """What methods are compared with: A⁺y, or what practice takes where A⁺ amplifies noise."""
        if not self.linear:
            found = self.tangent(y).linear_baseline(self.linearized_data(y))
            return found._replace(method=f"linearized_{found.method}")
        if not self.closed_pseudo_inverse:
            return LinearBaseline("pseudo_inverse", least_norm(self, y, tol=1e-4))  # below noise
        return LinearBaseline("pseudo_inverse", self.pseudo_inverse(y))

    @property
    def closed_pseudo_inverse(self) -> bool:
        """Whether A⁺ has a closed form."""
        return type(self).pseudo_inverse is not LinearOperator.pseudo_inverse

    @cached_property
    def _single(self) -> torch.dtype | None:
        """The kind of a tensor of the operator that is not in double precision, if there is one."""
        kinds = (t.dtype for t in tensors(self) if t.is_floating_point() or t.is_complex())
        return next((kind for kind in kinds if kind.to_real() != torch.float64), None)

    def expect_field(self, name: str, kind: str, *axes: Axis, hint: str = "") -> None:
        """Raise a `ShapeError` unless a tensor has this kind and these axes."""
        t: Tensor = getattr(self, name)
        pairs = zip(t.shape, axes, strict=False)
        fits = t.ndim == len(axes) and t.is_complex() == (kind == "complex")
        if not fits or not all(isinstance(a, str) or n in np.atleast_1d(a) for n, a in pairs):
            want = ", ".join(str(a).strip("()").replace(", ", " or ") for a in axes)
            got = f"{tuple(t.shape)} of {t.dtype}{hint}"
            raise ShapeError(f"{type(self).__name__}.{name} must be {kind}, ({want}), got {got}.")

    def _expect(self, method: str, t: Tensor, shape: Shape) -> None:
        name = f"{type(self).__name__}.{method}"
        expect_shape(name, t, shape)
        if (count := t.shape[0]) != self.batch != 1 or count == 0:
            raise ShapeError(
                f"{name}: the operator has {self.batch} samples and the batch holds {count}; pass "
                "one operator for each, or one for all."
            )
        if not (t.is_floating_point() or t.is_complex()):
            raise ShapeError(
                f"{name} expects a floating-point or complex tensor, got {t.dtype}; convert it "
                "with .float(), and divide by the value of white: 255 of 8 bits."
            )
        if self._single is not None and t.dtype in (torch.float64, torch.complex128):
            raise ShapeError(
                f"{name}: {t.dtype} through an operator of {self._single} would keep only its "
                "digits; take operator.to_like(x), or in a sample of yours tensor.to(draws.dtype)."
            )

    def _refuse(self, method: str) -> NoReturn:
        name = type(self).__name__
        raise ConfigError(
            f"{name}.{method}: {name}, from images of {self.image_shape} to measurements of "
            f"{self.measurement_shape}, is not linear, and has a vector–Jacobian product instead "
            "of an adjoint. Take an algorithm that needs only the gradient of f, such as PGD, GD "
            "or FISTA, and start from Regularised or BackProjection; `linearize(x)` is linear."
        )


@dataclass(frozen=True, eq=False)
class LinearOperator(Operator, ABC):
    """A linear map y = Ax.

    Subclasses write `forward`, `adjoint` and the shapes, and override what they know in closed
    form: `normal`, `solve_normal`, `norm_squared`, `pseudo_inverse`. A composite of operators that
    are not all linear says so by `linear`; its methods are then refused by its components.
    """

    linear = True

    def linearize(self, x: Image) -> Operator:
        if self.linear:
            return self
        raise ConfigError(f"{type(self).__name__} is not linear, and does not write `linearize`.")

    @abstractmethod
    def adjoint(self, y: Measurement) -> Image:
        """A*y, shapes already checked."""

    def A_adjoint(self, y: Measurement) -> Image:
        """A*y; a `ShapeError` where the shape, the batch or the kind of `y` does not fit."""
        self._expect("A_adjoint", y, self.measurement_shape)
        if self.complex_measurements and not y.is_complex():
            raise ShapeError(
                f"{type(self).__name__}.A_adjoint expects complex measurements, got {y.dtype}; "
                "real and imaginary parts are one complex number, not two channels: "
                "torch.complex(re, im)."
            )
        return self.adjoint(y)

    def normal(self, x: Image) -> Image:
        return self.adjoint(self.forward(x))

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: Until = None
    ) -> Image:
        """(I + γA*A)⁻¹b, by conjugate gradients."""
        return solve_normal(self, b, gamma, start=start, tol=tol)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A⁺y, the least-squares image of least norm."""
        return least_norm(self, y)
