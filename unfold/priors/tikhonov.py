"""Tikhonov regularisation."""

from dataclasses import dataclass

from unfold.priors.prior import Prior, expect_weight
from unfold.pytree import batched_inner
from unfold.typing import Image, PerImage, Scalar


@dataclass(frozen=True)
class Tikhonov(Prior):
    """g(x) = ½‖x‖²."""

    provides = frozenset({"prox", "grad", "value"})
    pixelwise = True

    @property
    def lipschitz(self) -> Scalar:
        """1."""
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
