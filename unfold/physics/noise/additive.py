"""Noise that is added, whatever the signal."""

from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from unfold.parameters.bounds import bounded, nonnegative
from unfold.physics.levels import Level
from unfold.physics.noise.base import IN_IMAGES, Moments, Noise, level_of, levels
from unfold.random import Draws
from unfold.typing import Measurement


@dataclass(frozen=True)
class Additive(Noise):
    """y = v + σn, n of mean 0 and variance 1; for complex v, E|n|² = 1, half in each part.

    Args:
        sigma: σ ≥ 0, the standard deviation, in units of an image in [0, 1]; a number, or a range
            to sample from per image. At σ = 0, y is v exactly.
    """

    sigma: Level = bounded(accepted=nonnegative, note=IN_IMAGES, level=True)

    @abstractmethod
    def standard(self, g: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent draws of mean 0 and variance 1."""

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        self.expect(clean, draws)
        sigma = level_of(self.sigma, draws, clean)
        if not isinstance(sigma, Tensor) and sigma == 0:
            return clean
        shape = tuple(clean.shape[1:])

        def numbers(g: np.random.Generator, _: int) -> np.ndarray:
            if not clean.is_complex():
                return self.standard(g, shape)
            parts = self.standard(g, (2, *shape)) / np.sqrt(2.0)
            return np.asarray(parts[0] + 1j * parts[1])

        own = replace(draws, dtype=clean.dtype, device=clean.device)
        return clean + sigma * own.each("noise", numbers)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and σ²."""
        return Moments(clean, levels(self.sigma, draws, clean) ** 2)


@dataclass(frozen=True)
class Gaussian(Additive):
    """y = v + σn, n standard normal; for complex v, E|n|² = 1, half in each part.

    Args:
        sigma: σ ≥ 0, in units of an image in [0, 1]; a number, or a range to sample from per image.
            At σ = 0, y is v exactly.

    Raises:
        ConfigError: σ is negative or not finite.
    """

    supports_sure = True

    def standard(self, g: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(g.standard_normal(shape))


@dataclass(frozen=True)
class Laplace(Additive):
    """y = v + σn, n with density ∝ exp(−√2|n|): the noise whose likelihood is the ℓ1 fidelity.

    Args:
        sigma: σ ≥ 0, the standard deviation; the scale of the density is σ/√2.
    """

    def standard(self, g: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(g.laplace(0.0, 1 / np.sqrt(2.0), shape))


@dataclass(frozen=True)
class Uniform(Additive):
    """y = v + σn, n uniform on [−√3, √3].

    Args:
        sigma: σ ≥ 0, the standard deviation; y is within √3 σ of v.
    """

    def standard(self, g: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(g.uniform(-np.sqrt(3.0), np.sqrt(3.0), shape))
