"""Noise of detectors that have a range: impulses and quantisation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import bounded, inside, whole
from unfold.physics.levels import Level, sample_level
from unfold.physics.noise.additive import refuse_complex
from unfold.physics.noise.base import (
    Moments,
    Noise,
    levels,
    same_batch,
)
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement


@dataclass(frozen=True)
class SaltAndPepper(Noise):
    """y = 0 or 1, each with probability p/2, and v otherwise, independently for every entry.

    Args:
        probability: p in [0, 1]; a number, or a range to sample from per image.
    """

    probability: Level = bounded(
        accepted=inside("[0, 1]"), note="the fraction of entries that are lost", level=True
    )

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        refuse_complex("SaltAndPepper", clean, "there is no range from 0 to 1")
        same_batch("SaltAndPepper", clean, draws)
        own = draws.like(clean)
        p = sample_level(self.probability, own, "level")
        p = per_image(p, clean) if isinstance(p, Tensor) else p
        chance = own.uniform("noise", clean.shape[1:])
        salted = torch.where(chance < p, 1.0, clean)
        return torch.where(chance < p / 2, 0.0, salted)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """(1 − p)v + p/2, and (1 − p)v² + p/2 less its square."""
        p = levels(self.probability, draws, clean)
        mean = (1 - p) * clean + p / 2
        return Moments(mean, (1 - p) * clean**2 + p / 2 - mean**2)


@dataclass(frozen=True)
class Quantisation(Noise):
    """y = the nearest of 2^bits equally spaced values from 0 to 1; deterministic.

    Within [0, 1], y is within 1 / 2(2^bits − 1) of v; what lies outside is clipped.

    Args:
        bits: a whole number from 1 to 16.
    """

    bits: int = bounded(accepted=whole(1, 16))

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        refuse_complex("Quantisation", clean, "there is no range from 0 to 1")
        steps = 2**self.bits - 1
        value: Tensor = torch.round(clean.clamp(0, 1) * steps) / steps
        return value

    def with_level(self, level: Level) -> "Quantisation":
        """The level is the number of bits."""
        if not isinstance(level, float | int) or int(level) != level:
            raise ConfigError(f"Quantisation.bits = {level}: must be a whole number from 1 to 16.")
        return Quantisation(int(level))
