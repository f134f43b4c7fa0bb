"""Elementary priors: norms of pixels or of a linear map, and intervals of intensities."""

import math
from abc import ABC
from dataclasses import dataclass, field

import torch

from unfold.errors import ConfigError
from unfold.parameters.bounds import check_order
from unfold.physics.operator import Operator
from unfold.priors.prior import Prior, expect_weight
from unfold.pytree import batched_inner
from unfold.solvers.conjugate_gradient import solve_normal
from unfold.solvers.linear_map import LinearMap
from unfold.thresholds import length, soft
from unfold.typing import Image, PerImage, Scalar


@dataclass(frozen=True)
class L1(Prior):
    """g(x) = ‖x‖₁, the sum of moduli: few pixels differ from 0.

    Source: Daubechies, Defrise and De Mol, An iterative thresholding algorithm for linear inverse
    problems with a sparsity constraint, Comm. Pure Appl. Math. 57 (2004), section 2.
    """

    provides = frozenset({"prox", "value"})
    pixelwise = True

    def prox(self, v: Image, weight: Scalar) -> Image:
        """v / |v| · max(|v| − w, 0)."""
        expect_weight(self, weight)
        return soft(v, weight)

    def value(self, x: Image) -> PerImage:
        return x.abs().flatten(1).sum(1)


@dataclass(frozen=True)
class GroupL1(Prior):
    """g(x) = Σ ‖x_i‖₂, x_i all channels of pixel i: the norm of type ℓ₂,₁.

    Source: Yuan and Lin, Model selection and estimation in regression with grouped variables, J. R.
    Stat. Soc. B 68 (2006), section 2.
    """

    provides = frozenset({"prox", "value"})

    def prox(self, v: Image, weight: Scalar) -> Image:
        """v_i max(1 − w/‖v_i‖, 0)."""
        expect_weight(self, weight)
        size = length(v, 1)
        return v * ((size - weight).clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny))

    def value(self, x: Image) -> PerImage:
        return length(x, 1).flatten(1).sum(1)


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


@dataclass(frozen=True)
class Indicator(Prior, ABC):
    """g(x) = 0 where every pixel is in [low, high], else ∞."""

    provides = frozenset({"prox", "value"})
    uses_lambda = False
    pixelwise = True
    is_box = True

    low: float
    high: float

    def prox(self, v: Image, weight: Scalar) -> Image:
        """The projection min(max(v, low), high), whatever the weight."""
        expect_weight(self, weight)
        return self._real(v).clamp(self.low, self.high)

    def value(self, x: Image) -> PerImage:
        x = self._real(x)
        outside = ((x < self.low) | (x > self.high)).flatten(1).any(1)
        return torch.zeros_like(x.flatten(1)[:, 0]).masked_fill(outside, torch.inf)

    def _real(self, x: Image) -> Image:
        if x.is_complex():
            name = type(self).__name__
            raise ConfigError(f"{name} orders intensities; a complex image has none.")
        return x


@dataclass(frozen=True)
class Box(Indicator):
    """g(x) = 0 where low ≤ x ≤ high in every pixel, else ∞.

    Args:
        low: smallest intensity.
        high: largest intensity.

    Raises:
        ConfigError: low is not below high, or the image is complex.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order(self)


@dataclass(frozen=True)
class NonNegative(Indicator):
    """g(x) = 0 where x ≥ 0 in every pixel, else ∞.

    Raises:
        ConfigError: the image is complex.
    """

    low: float = field(default=0.0, init=False)
    high: float = field(default=math.inf, init=False)
