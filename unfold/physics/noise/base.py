"""Noise: the distribution of a measurement given the clean one; the two most common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, DataError, ShapeError
from unfold.parameters.bounds import Declared, bounded, nonnegative, positive
from unfold.physics.levels import Level, level_names, level_per_image, sample_level
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement

N = TypeVar("N", bound="Noise")


IN_IMAGES = "in units of an image in [0, 1]"


class Moments(NamedTuple):
    """Of every entry of y."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Noise(Declared, ABC):
    """The distribution of y given the clean measurement v = Ax."""

    supports_sure: ClassVar[bool] = False
    """Whether E Re h̄(y)(y − v) = E V Re ∂h(y), V the variance of y: exactly, or to first order."""

    @abstractmethod
    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        """Sample y for each image; the dtype is that of `clean`."""

    def moments(self, clean: Measurement, draws: Draws) -> Moments | None:
        """Mean and variance of y given v and the levels of these draws; None where none are known.

        For complex y the variance is E|y − mean|².
        """
        return None

    def with_level(self: N, level: Level) -> N:
        """The same noise at another level, its first field that is declared as one.

        Raises:
            ConfigError: the noise has no level, or not this one.
        """
        if not (names := level_names(self)):
            raise ConfigError(
                f"{type(self).__name__} has no level to set to {level}; use Gaussian or Poisson."
            )
        return replace(self, **{names[0]: level})


def with_sigma(noise: Noise, sigma: Level) -> Noise:
    """The same noise with another standard deviation σ, which it must have."""
    changed: Noise = replace(noise, sigma=sigma)  # type: ignore[call-arg]
    return changed


@dataclass(frozen=True)
class NoNoise(Noise):
    """y = v."""

    supports_sure = True

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        """The clean measurement itself."""
        return clean

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and 0."""
        return Moments(clean, torch.zeros_like(clean, dtype=clean.dtype.to_real()))


@dataclass(frozen=True)
class Gaussian(Noise):
    """y = v + σn, n standard normal; for complex v, E|n|² = 1, half in each part.

    Args:
        sigma: σ ≥ 0, in units of an image in [0, 1]; a number, or a range to sample from per image.
            At σ = 0, y is v exactly.

    Raises:
        ConfigError: σ is negative or not finite.
    """

    supports_sure = True

    sigma: Level = bounded(accepted=nonnegative, note=IN_IMAGES, level=True)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        same_batch("Gaussian", clean, draws)
        sigma = sample_level(self.sigma, draws.like(clean), "level")
        if isinstance(sigma, Tensor):
            sigma = per_image(sigma, clean)
        elif sigma == 0:
            return clean
        own = replace(draws, dtype=clean.dtype, device=clean.device)
        return clean + sigma * own.normal("noise", clean.shape[1:])

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and σ²."""
        return Moments(clean, levels(self.sigma, draws, clean) ** 2)


@dataclass(frozen=True)
class Poisson(Noise):
    """y = k / gain, k ~ Poisson(gain · v): mean v, variance v / gain.

    The sample passes no gradient to v, and is made on the CPU.

    Args:
        gain: photons that an intensity of 1 gives, > 0; a number, or a range to sample from per
            image. A larger gain is less noise.

    Raises:
        ConfigError: the gain is not positive and finite, or v is complex.
        DataError: v has negative values, beyond the rounding of a convolution.
    """

    supports_sure = True

    gain: Level = bounded(accepted=positive, note="in photons for an intensity of 1", level=True)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        same_batch("Poisson", clean, draws)
        rates = _rates(clean)
        gains = level_per_image(self.gain, on_cpu(draws), "level")

        def count(g: np.random.Generator, position: int) -> np.ndarray:
            return np.asarray(g.poisson(gains[position] * rates[position]) / gains[position])

        own = replace(draws, dtype=clean.dtype, device=clean.device)
        return own.each("noise", count)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and v / gain."""
        return Moments(clean, clean.clamp(min=0) / levels(self.gain, draws, clean))


def on_cpu(draws: Draws) -> Draws:
    """The same draws in double precision on the CPU."""
    return replace(draws, dtype=torch.float64, device="cpu")


def levels(level: Level, draws: Draws, clean: Tensor) -> Tensor:
    """The level of every image, (B, 1, …) or (), as `apply` samples it."""
    sampled = sample_level(level, on_cpu(draws), "level")
    if isinstance(sampled, Tensor):
        return per_image(sampled.to(clean.device, clean.dtype.to_real()), clean)
    return torch.tensor(sampled, dtype=clean.dtype.to_real()).to(clean.device)


def _rates(clean: Tensor) -> np.ndarray:
    """The intensities as numpy doubles; values that are negative by rounding become 0."""
    if clean.is_complex():
        raise ConfigError("Poisson: photons are not counted in complex measurements; use Gaussian.")
    rates = clean.detach().cpu().double().numpy()
    rounding = 1e3 * torch.finfo(clean.dtype).eps * max(1.0, float(np.abs(rates).max(initial=0)))
    if not rates.min(initial=0) >= -rounding:
        raise DataError(
            f"Poisson: the clean measurement goes down to {rates.min():.3g}; intensities must be "
            "zero or positive: scale the images to [0, 1] or use Gaussian."
        )
    return np.asarray(rates.clip(0))


def same_batch(owner: str, clean: Tensor, draws: Draws) -> None:
    """Raise a `ShapeError` for draws of another number of images."""
    if clean.shape[0] != len(draws):
        raise ShapeError(
            f"{owner}.apply: {clean.shape[0]} measurements and draws for {len(draws)} images; "
            "pass one image index per measurement."
        )
