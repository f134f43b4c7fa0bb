"""Operators with AA* = I, for which everything is in closed form."""

from abc import ABC
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.physics.operator import Operator
from unfold.tree import tensors
from unfold.typing import Image, Measurement, PerImage, Scalar


@dataclass(frozen=True, eq=False)
class OrthonormalRows(Operator, ABC):
    """A map whose measurements are coefficients of the image in part of an orthonormal basis."""

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """b − γ/(1 + γ) A*Ab."""
        return b - gamma / (1 + gamma) * self.normal(b)

    @cached_property
    def norm_squared(self) -> PerImage:
        """1."""
        held = tensors(self)
        return torch.ones(self.batch, device=held[0].device if held else None)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y."""
        return self.adjoint(y)


@dataclass(frozen=True, eq=False)
class OrthonormalMatrix(OrthonormalRows, ABC):
    """A map by a matrix Φ with ΦΦᵀ = I, its first field.

    Where the matrix requires gradients, Φ is free to leave ΦΦᵀ = I, and the derivatives of the
    solves are those of the iterative ones, not of the closed forms.
    """

    matrix: Tensor

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """b − γ/(1 + γ) A*Ab, where ΦΦᵀ = I is certain."""
        own = Operator if self.matrix.requires_grad else OrthonormalRows
        return own.solve_normal(self, b, gamma, start)

    @cached_property
    def norm_squared(self) -> PerImage:
        """1, where ΦΦᵀ = I is certain."""
        own = Operator if self.matrix.requires_grad else OrthonormalRows
        found: PerImage = own.norm_squared.func(self)  # type: ignore[attr-defined]
        return found

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y, where ΦΦᵀ = I is certain."""
        own = Operator if self.matrix.requires_grad else OrthonormalRows
        return own.pseudo_inverse(self, y)
