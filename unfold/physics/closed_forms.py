"""Linear operators whose solves and pseudo-inverse are in closed form."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.physics.operator import LinearOperator
from unfold.pytree import tensors
from unfold.solvers.conjugate_gradient import Until
from unfold.typing import Image, Measurement, PerImage, Scalar


@dataclass(frozen=True, eq=False)
class ClosedForm(LinearOperator, ABC):
    """Ax with (I + γA*A)⁻¹ in closed form: `solve`, which needs no start and no tolerance."""

    @abstractmethod
    def solve(self, b: Image, gamma: Scalar) -> Image:
        """(I + γA*A)⁻¹b."""

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: Until = None
    ) -> Image:
        return self.solve(b, gamma)


@dataclass(frozen=True, eq=False)
class UnitNorm(ClosedForm, ABC):
    """A⁺ = A*, and ‖A‖ = 1."""

    @cached_property
    def norm_squared(self) -> PerImage:
        held = tensors(self)
        return torch.ones(self.batch, device=held[0].device if held else None)

    def pseudo_inverse(self, y: Measurement) -> Image:
        return self.adjoint(y)


@dataclass(frozen=True, eq=False)
class Isometry(UnitNorm, ABC):
    """A*A = I."""

    def normal(self, x: Image) -> Image:
        return x

    def normal_spectrum(self, like: Image) -> Tensor | None:
        return torch.ones_like(like[:1, :1, :1, :1].real)

    def solve(self, b: Image, gamma: Scalar) -> Image:
        return b / (1 + gamma)


@dataclass(frozen=True, eq=False)
class OrthonormalRows(UnitNorm, ABC):
    """AA* = I: measurements are coefficients of the image in part of an orthonormal basis."""

    def solve(self, b: Image, gamma: Scalar) -> Image:
        """b − γ/(1 + γ) A*Ab."""
        return b - gamma / (1 + gamma) * self.normal(b)


@dataclass(frozen=True, eq=False)
class OrthonormalMatrix(OrthonormalRows, ABC):
    """A matrix Φ with ΦΦᵀ = I, its first field.

    Where the matrix requires gradients, Φ may leave ΦΦᵀ = I, so that the solves are iterative, not
    in closed form.
    """

    matrix: Tensor

    @property
    def _kind(self) -> type[LinearOperator]:
        return LinearOperator if self.matrix.requires_grad else OrthonormalRows

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: Until = None
    ) -> Image:
        """b − γ/(1 + γ) A*Ab, where ΦΦᵀ = I is certain."""
        return self._kind.solve_normal(self, b, gamma, start, tol)

    @cached_property
    def norm_squared(self) -> PerImage:
        """1, where ΦΦᵀ = I is certain."""
        found: PerImage = self._kind.norm_squared.func(self)  # type: ignore[attr-defined]
        return found

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y, where ΦΦᵀ = I is certain."""
        return self._kind.pseudo_inverse(self, y)


class Diagonal(ClosedForm, ABC):
    """A*A or AA* is a diagonal matrix of weights w."""

    @property
    @abstractmethod
    def power(self) -> Tensor:
        """w ≥ 0, broadcast over what it weights."""

    @cached_property
    def norm_squared(self) -> PerImage:
        """The largest w of each sample."""
        return self.power.detach().flatten(1).amax(1)


class DiagonalGram(Diagonal, ABC):
    """AA* = diag(w): every entry of a measurement is weighted independently."""

    def solve(self, b: Image, gamma: Scalar) -> Image:
        """b − γA*((I + γw)⁻¹Ab), the identity of Woodbury."""
        return b - gamma * self.adjoint(self.forward(b) / (1 + gamma * self.power))

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*(y / w), and 0 where w = 0."""
        return self.adjoint(divide(y, self.power))


class DiagonalNormal(Diagonal, ABC):
    """A*A = T* diag(w) T with an orthonormal T, the identity unless a subclass overrides it."""

    def coefficients(self, x: Image) -> Tensor:
        """Tx."""
        return x

    def synthesis(self, v: Tensor) -> Image:
        """T*v."""
        return v

    def normal(self, x: Image) -> Image:
        """T*(w · Tx)."""
        return self.synthesis(self.power * self.coefficients(x))

    def solve(self, b: Image, gamma: Scalar) -> Image:
        """T*(Tb / (1 + γw))."""
        return self.synthesis(self.coefficients(b) / (1 + gamma * self.power))


class PerPixel(DiagonalNormal):
    """A with A*A = diag(w), w (B or 1, 1 or C, H, W): each pixel is weighted independently."""

    @cached_property
    def norm_squared(self) -> PerImage:
        """The largest w of each sample, and no less where the transforms round up."""
        largest = self.power.detach().flatten(1).amax(1)
        return largest * (1 + 100 * torch.finfo(largest.dtype).eps)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y / w, and 0 where w = 0."""
        return self.normal_pseudo_inverse(self.adjoint(y))

    def normal_pseudo_inverse(self, x: Image) -> Image:
        """(A*A)⁺x = x / w, and 0 where w = 0."""
        return divide(x, self.power)


def divide(v: Tensor, w: Tensor) -> Tensor:
    """v / w where w is not 0, and 0 elsewhere."""
    known = w != 0
    return torch.where(known, v / torch.where(known, w, 1), 0)
