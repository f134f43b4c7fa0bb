"""Sparsity of the pixels themselves."""

from dataclasses import dataclass

from unfold.priors.prior import Prior, expect_weight
from unfold.thresholds import soft
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
