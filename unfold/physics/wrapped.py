"""Operators made of one operator: of post-processed outputs, and of real images only."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.algebra import Unary
from unfold.physics.closed_forms import PerPixel
from unfold.physics.operator import ALGEBRA, EACH, LinearBaseline, Operator
from unfold.pytree import per_image, same_as
from unfold.random import Draws
from unfold.solvers.conjugate_gradient import Until
from unfold.typing import Field, Image, Measurement, PerImage, Scalar


@dataclass(frozen=True, eq=False)
class Wrapped(Unary, ABC):
    """Ax = L(Bx), with the images of B and, unless a subclass overrides them, its measurements.

    Subclasses write L, `post`, which is linear: a derivative is that of B, wrapped; and L*,
    `post_adjoint`, so that A*y = B*(L*y).

    Args:
        operator: B.
    """

    abs_operator = None

    @abstractmethod
    def post(self, v: Field) -> Measurement:
        """L(v), of what B makes."""

    @abstractmethod
    def post_adjoint(self, y: Measurement) -> Field:
        """L*y, as B makes it."""

    def forward(self, x: Image) -> Measurement:
        return self.post(self.operator.forward(x))

    def adjoint(self, y: Measurement) -> Image:
        return self.operator.adjoint(self.post_adjoint(y))

    anchor = same_as("operator.anchor")
    entries = same_as("operator.entries")
    reference = same_as("operator.reference")

    def _linearized_data(self, y: Measurement) -> Measurement:
        """y − L(b), where B(x) ≈ b + Jx."""
        return y - self.post(self.operator.offset(y))


@dataclass(frozen=True, eq=False)
class Isometric(Wrapped, ABC):
    """Ax = L(Bx) where L*L = I: what there is of A*A, and A⁺ = B⁺L*, is that of B."""

    norm_squared = same_as("operator.norm_squared")
    norm_bound = same_as("operator.norm_bound")
    normal = same_as("operator.normal")
    solve_normal = same_as("operator.solve_normal")

    def pseudo_inverse(self, y: Measurement) -> Image:
        return self.operator.pseudo_inverse(self.post_adjoint(y))

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        return self.operator.linear_baseline(self.post_adjoint(y))


@dataclass(frozen=True, eq=False)
class Scaled(Wrapped):
    """Ax = s Bx, with every closed form that B has.

    Args:
        scale: s, real, not 0, (B or 1,): one number for each sample, or for all.
    """

    scale: Tensor

    def __post_init__(self) -> None:
        self.expect_field("scale", "real", EACH)
        if len(self.scale) != 1 != self.operator.batch != len(self.scale):
            raise ShapeError(
                f"Scaled: {len(self.scale)} numbers for an operator of {self.operator.batch} "
                "samples; pass one for each, or one for all."
            )

    @property
    def batch(self) -> int:
        return max(self.operator.batch, len(self.scale))

    def post(self, v: Field) -> Measurement:
        return per_image(self.scale, v) * v

    post_adjoint = same_as("post")

    def normal(self, x: Image) -> Image:
        """s² B*Bx."""
        return per_image(self.scale**2, x) * self.operator.normal(x)

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: Until = None
    ) -> Image:
        """(I + γs² B*B)⁻¹b."""
        own = gamma * per_image(self.scale**2, b)
        return self.operator.solve_normal(b, own.expand(len(b), *own.shape[1:]), start, tol)

    @cached_property
    def norm_squared(self) -> PerImage:
        """s² ‖B‖²."""
        return self.scale.detach() ** 2 * self.operator.norm_squared.to(self.scale.device)

    @cached_property
    def norm_bound(self) -> PerImage:
        return self.scale.detach() ** 2 * self.operator.norm_bound.to(self.scale.device)

    def pseudo_inverse(self, y: Measurement) -> Image:
        return self.operator.pseudo_inverse(y / per_image(self.scale, y))


@dataclass(frozen=True, eq=False)
class RealImages(Unary):
    """Ax = Bx for real x, so that A*y = Re B*y.

    A is linear over the real numbers only, ⟨u, v⟩ = Re Σ ū v being the inner product of complex
    measurements. Its norm is at most that of B, and is found for real images. Where B*B is
    a real weight of each pixel, the closed forms of B are kept.

    Args:
        operator: B, which acts on complex images.
    """

    complex_images = False
    acquired = same_as("operator.acquired")

    def linearize(self, x: Image) -> Operator:
        return super().linearize(_complex(x))

    def reference(self, like: Tensor) -> Image:
        return self.operator.reference(like).real

    _linearized_data = same_as("operator.linearized_data")

    @property
    def complex_measurements(self) -> bool:
        """Those of complex images, unless B makes real ones of them."""
        return self.operator.complex_measurements or not self.operator.complex_images

    @cached_property
    def norm_squared(self) -> PerImage:
        """That of B where it weights pixels, else found for real images."""
        if isinstance(self.operator, PerPixel):
            return self.operator.norm_squared
        found: PerImage = Unary.norm_squared.func(self)  # type: ignore[attr-defined]
        return found

    @cached_property
    def norm_bound(self) -> PerImage:
        """That of B where it overrides it; else ‖A‖², which is smaller."""
        if type(self.operator).norm_bound is Operator.norm_bound:
            return self.norm_squared
        return self.operator.norm_bound

    def forward(self, x: Image) -> Measurement:
        return self.operator.forward(_complex(x))

    def adjoint(self, y: Measurement) -> Image:
        return self.operator.adjoint(y).real

    def normal(self, x: Image) -> Image:
        """Re B*Bx."""
        return self.operator.normal(_complex(x)).real

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: Until = None
    ) -> Image:
        """That of B where it weights pixels, else by conjugate gradients."""
        if isinstance(self.operator, PerPixel):
            return self.operator.solve(b, gamma)
        return super().solve_normal(b, gamma, start, tol)

    @property
    def closed_pseudo_inverse(self) -> bool:
        return isinstance(self.operator, PerPixel)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """(B*B)⁺A*y where B weights pixels, else the least-squares image of least norm."""
        if isinstance(self.operator, PerPixel):
            return self.operator.normal_pseudo_inverse(self.adjoint(y))
        return super().pseudo_inverse(y)

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        """The real part of that of B where B overrides it."""
        if type(self.operator).linear_baseline is Operator.linear_baseline:
            return super().linear_baseline(y)
        found = self.operator.linear_baseline(y)
        return found._replace(image=found.image.real)


@dataclass(frozen=True, eq=False)
class MaskedMeasurement(Wrapped):
    """Ax = m · Bx: B with a mask `kept` on its measurement, (B, …), of ones and zeros."""

    kept: Tensor

    @property
    def acquired(self) -> Tensor:  # type: ignore[override]
        before = self.operator.acquired
        return self.kept if before is None else self.kept * before

    anchor = same_as("kept")

    @property
    def batch(self) -> int:
        return len(self.kept)

    @cached_property
    def norm_bound(self) -> PerImage:
        """That of B, as ‖mB‖ ≤ ‖B‖; m changes with every batch, and the bound of B is cached."""
        return self.operator.norm_bound.to(self.kept.device).expand(self.batch)

    def post(self, v: Field) -> Measurement:
        return self.kept * v

    def post_adjoint(self, y: Measurement) -> Field:
        return self.kept * y


def central(sides: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """The rows (n, 1) and the columns of the frequencies nearest to 0, at index 0, of a square.

    As many are on either side of 0, and one more on the negative where `count` is even.
    """
    down, across = (torch.arange(min(count, n)) - min(count, n) // 2 for n in sides)
    return down[:, None], across


def split(
    operator: Operator, y: Measurement, draws: Draws, keep: float, centre: int = 4
) -> tuple[Tensor, Tensor]:
    """Masks over the measured entries of y: those that are kept, with a probability, and the rest.

    Of frequencies, the coils share a mask, and what was not acquired is in neither. A square of
    `centre` around frequency 0 is in both: there is no image without it, and an image that ends
    with its denoiser would be free there.
    """
    acquired = operator.acquired
    if acquired is None:
        kept = (draws.uniform("split", y.shape[1:]) < keep).to(y.dtype.to_real())
        return kept, 1 - kept
    axes = (len(y), *[1] * (y.ndim - 3), *y.shape[-2:])
    chosen = draws.uniform("split", y.shape[-2:]).reshape(axes) < keep
    middle = torch.zeros_like(chosen)
    if y.is_complex():
        down, across = central(y.shape[-2:], centre)
        middle[..., down, across] = True
    return acquired * (chosen | middle), acquired * (~chosen | middle)


def _complex(x: Tensor) -> Tensor:
    return x.to(x.dtype.to_complex())


def scaled(operator: Operator, scale: float | int) -> Scaled:
    """s A; a `ConfigError` unless s is real, finite and not 0."""
    if not 0 < abs(scale) < float("inf"):
        raise ConfigError(f"{scale} * {type(operator).__name__}: must be real, finite and not 0.")
    like = operator.anchor
    return Scaled(operator, torch.full((1,), scale, dtype=like.dtype.to_real(), device=like.device))


ALGEBRA.update(scale=scaled)
