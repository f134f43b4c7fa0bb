"""Quadratic priors."""

from dataclasses import dataclass

from unfold.physics.operator import Operator
from unfold.priors.prior import Prior, expect_weight
from unfold.pytree import batched_inner
from unfold.solvers.conjugate_gradient import solve_normal
from unfold.solvers.linear_map import LinearMap
from unfold.typing import Image, PerImage, Scalar


@dataclass(frozen=True)
class Tikhonov(Prior):
    """g(x) = ½‖x‖²."""

    provides = frozenset({"prox", "grad", "value"})
    pixelwise = True

    @property
    def lipschitz(self) -> Scalar:
        return 1.0

    def prox(self, v: Image, weight: Scalar) -> Image:
        """v / (1 + w)."""
        expect_weight(self, weight)
        return v / (1 + weight)

    def grad(self, x: Image) -> Image:
        """∇g(x) = x."""
        return x

    def value(self, x: Image) -> PerImage:
        return 0.5 * batched_inner(x, x)


@dataclass(frozen=True)
class GeneralTikhonov(Prior):
    """g(x) = ½‖Lx‖²; with differences for L, images are smooth where the data give no information.

    Args:
        operator: L, a `LinearMap` such as `Differences`, or an operator of a physics.

    Source: Tikhonov and Arsenin, Solutions of ill-posed problems (1977), chapter II.
    """

    provides = frozenset({"prox", "grad", "value"})

    operator: LinearMap

    def prox(self, v: Image, weight: Scalar) -> Image:
        """(I + wL*L)⁻¹v: in closed form where the operator has one, else by conjugate gradients."""
        expect_weight(self, weight)
        if isinstance(self.operator, Operator):
            return self.operator.solve_normal(v, weight)
        return solve_normal(self.operator, v, weight)

    def grad(self, x: Image) -> Image:
        """∇g(x) = L*Lx."""
        return self.operator.normal(x)

    def value(self, x: Image) -> PerImage:
        u = self.operator.forward(x)
        return 0.5 * batched_inner(u, u)
