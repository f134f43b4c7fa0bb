"""Indicators of intervals of intensities."""

import math
from abc import ABC
from dataclasses import dataclass, field

import torch

from unfold.errors import ConfigError
from unfold.parameters.bounds import check_order
from unfold.priors.prior import Prior, expect_weight
from unfold.typing import Image, PerImage, Scalar


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
