"""Sparsity of pixels, and of groups of channels."""

from dataclasses import dataclass

import torch

from unfold.priors.prior import Prior, expect_weight
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
