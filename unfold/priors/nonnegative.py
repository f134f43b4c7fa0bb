"""Intensities that are not negative."""

from dataclasses import dataclass

import torch

from unfold.priors.box import expect_real
from unfold.priors.prior import Prior, expect_weight
from unfold.typing import Image, PerImage, Scalar


@dataclass(frozen=True)
class NonNegative(Prior):
    """g(x) = 0 where x ≥ 0 in every pixel, else ∞.

    Raises:
        ConfigError: the image is complex.
    """

    provides = frozenset({"prox", "value"})
    uses_lambda = False
    pixelwise = True
    is_box = True

    def prox(self, v: Image, weight: Scalar) -> Image:
        """The projection max(v, 0), whatever the weight."""
        expect_weight(self, weight)
        expect_real(self, v)
        return v.clamp(min=0)

    def value(self, x: Image) -> PerImage:
        expect_real(self, x)
        outside = (x < 0).flatten(1).any(1)
        return torch.zeros_like(x.flatten(1)[:, 0]).masked_fill(outside, torch.inf)
