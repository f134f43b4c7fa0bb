"""Indicators of intervals of intensities."""

from dataclasses import dataclass

import torch

from unfold.errors import ConfigError
from unfold.parameters.bounds import check_order
from unfold.priors.prior import Prior, expect_weight
from unfold.typing import Image, PerImage, Scalar


@dataclass(frozen=True)
class Box(Prior):
    """g(x) = 0 where low ≤ x ≤ high in every pixel, else ∞.

    Args:
        low: smallest intensity.
        high: largest intensity.

    Raises:
        ConfigError: low is not below high, or the image is complex.
    """

    provides = frozenset({"prox", "value"})
    uses_lambda = False
    pixelwise = True
    is_box = True

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order(self)

    def prox(self, v: Image, weight: Scalar) -> Image:
        """The projection min(max(v, low), high), whatever the weight."""
        expect_weight(self, weight)
        expect_real(self, v)
        return v.clamp(self.low, self.high)

    def value(self, x: Image) -> PerImage:
        expect_real(self, x)
        outside = ((x < self.low) | (x > self.high)).flatten(1).any(1)
        return torch.zeros_like(x.flatten(1)[:, 0]).masked_fill(outside, torch.inf)


def expect_real(owner: Prior, x: Image) -> None:
    """Refuse complex images, whose pixels have no order."""
    if x.is_complex():
        raise ConfigError(f"{type(owner).__name__} orders intensities; a complex image has none.")


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
