"""Gaussian noise whose strength is relative to the clean measurement."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from unfold.parameters.bounds import at_least, bounded, inside
from unfold.physics.levels import Level
from unfold.physics.noise.base import Moments, Noise, levels
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement


@dataclass(frozen=True)
class RelativeNoise(Noise, ABC):
    """y = v + σ(v) n, n standard normal, E|n|² = 1 also where v is complex."""

    @abstractmethod
    def sigma_of(self, v: Tensor, draws: Draws) -> Tensor:
        """σ of each measurement, (B, 1, …)."""

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        self.expect(clean, draws)
        own = replace(draws, dtype=clean.dtype, device=clean.device)
        return clean + self.sigma_of(clean, draws) * own.normal("noise", clean.shape[1:])

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and σ², which follows a noisy y instead of v nearly as well."""
        return Moments(clean, (self.sigma_of(clean, draws) ** 2).expand(clean.shape))


@dataclass(frozen=True)
class SignalToNoise(RelativeNoise):
    """σ = std(v) · 10^(−snr/20), the deviation of all entries of a measurement from their mean.

    Args:
        snr: the ratio of the two deviations in dB; a number, or a range to sample from per image.
    """

    snr: Level = bounded(accepted=inside("[-100, 300]"), note="in dB", level=True)

    def sigma_of(self, v: Tensor, draws: Draws) -> Tensor:
        return per_image(v.flatten(1).std(1), v) * 10 ** (-levels(self.snr, draws, v) / 20)


@dataclass(frozen=True)
class RelativeGaussian(RelativeNoise):
    """σ = fraction · mean |v|, over the entries of a measurement.

    Args:
        fraction: zero or positive; a number, or a range to sample from per image.
    """

    fraction: Level = bounded(accepted=at_least(0), note="of the mean of |v|", level=True)

    def sigma_of(self, v: Tensor, draws: Draws) -> Tensor:
        return per_image(v.flatten(1).abs().mean(1), v) * levels(self.fraction, draws, v)
