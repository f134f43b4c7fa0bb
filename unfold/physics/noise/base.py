"""Levels: a number, or a range from which every image draws its own."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, DataError, ShapeError
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement

Level = float | int | Sequence[float | int]
"""A number, or (low, high): uniform on that range, one value per image."""


def checked(
    name: str, level: Level, holds: Callable[[float], bool], words: str
) -> float | tuple[float, float]:
    """The level as a float, or as a pair of different floats.

    Raises:
        ConfigError: it is neither, is not finite, is out of order, or `holds` refuses a value;
            the message begins with `name` and ends with `words`.
    """
    values = (level,) if isinstance(level, float | int) else tuple(level)
    if not all(math.isfinite(v) and holds(v) for v in values):
        raise ConfigError(f"{name} = {level}: {words}.")
    if len(values) == 1 and isinstance(level, float | int):
        return float(level)
    if len(values) != 2 or values[0] > values[1]:
        raise ConfigError(f"{name} = {level}: a range is two numbers, [low, high], low <= high.")
    low, high = float(values[0]), float(values[1])
    return low if low == high else (low, high)


def sample_level(level: Level, draws: Draws, name: str) -> float | Tensor:
    """The number itself, or (B,) uniform on the range, one value per image."""
    if isinstance(level, float | int):
        return float(level)
    return draws.uniform(name, (), *level)


def is_number(level: Level) -> bool:
    """Whether every image has the same value; for a level that `checked` has returned."""
    return isinstance(level, float | int)


N = TypeVar("N", bound="Noise")


class Moments(NamedTuple):
    """Of every entry of y."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Noise(ABC):
    """The law of y given the clean measurement v = Ax."""

    supports_sure: ClassVar[bool] = False
    """Whether E Re h̄(y)(y − v) = E V Re ∂h(y), V the variance of y: exactly, or to first order."""

    @abstractmethod
    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        """Draw y for each sample; the dtype is that of `clean`."""

    def moments(self, clean: Measurement, draws: Draws) -> Moments | None:
        """Mean and variance of y given v and the levels of these draws; None where none are known.

        For complex y the variance is E|y − mean|².
        """
        return None

    @abstractmethod
    def with_level(self: N, level: Level) -> N:
        """The same family at another level.

        Raises:
            ConfigError: the family has no level, or not this one.
        """


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

    def with_level(self, level: Level) -> "NoNoise":
        raise ConfigError(f"NoNoise has no level to set to {level}; use Gaussian or Poisson.")


@dataclass(frozen=True)
class Gaussian(Noise):
    """y = v + σn, n standard normal; for complex v, E|n|² = 1, half in each part.

    Args:
        sigma: σ ≥ 0, in units of an image in [0, 1]; a number, or a range of which every image
            draws its own value. At σ = 0, y is v exactly.

    Raises:
        ConfigError: σ is negative or not finite.
    """

    supports_sure = True

    sigma: Level

    def __post_init__(self) -> None:
        words = "must be zero or positive, in units of an image in [0, 1]"
        sigma = checked("Gaussian.sigma", self.sigma, lambda s: s >= 0, words)
        object.__setattr__(self, "sigma", sigma)

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

    def with_level(self, level: Level) -> "Gaussian":
        return Gaussian(level)


@dataclass(frozen=True)
class Poisson(Noise):
    """y = k / gain, k ~ Poisson(gain · v): mean v, variance v / gain.

    The draw passes no gradient on to v, and is made on the CPU.

    Args:
        gain: photons that an intensity of 1 gives, > 0; a number, or a range of which every image
            draws its own value. A larger gain is less noise.

    Raises:
        ConfigError: the gain is not positive and finite, or v is complex.
        DataError: v has negative values, beyond the rounding of a convolution.
    """

    supports_sure = True

    gain: Level

    def __post_init__(self) -> None:
        words = "must be positive, in photons for an intensity of 1"
        gain = checked("Poisson.gain", self.gain, lambda g: g > 0, words)
        object.__setattr__(self, "gain", gain)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        same_batch("Poisson", clean, draws)
        rates = _rates(clean)
        gain = sample_level(self.gain, replace(draws, dtype=torch.float64, device="cpu"), "level")
        gains = np.broadcast_to(np.asarray(gain), len(draws))

        def count(g: np.random.Generator, position: int) -> np.ndarray:
            return np.asarray(g.poisson(gains[position] * rates[position]) / gains[position])

        own = replace(draws, dtype=clean.dtype, device=clean.device)
        return own.each("noise", count)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and v / gain."""
        return Moments(clean, clean.clamp(min=0) / levels(self.gain, draws, clean))

    def with_level(self, level: Level) -> "Poisson":
        return Poisson(level)


def levels(level: Level, draws: Draws, clean: Tensor) -> Tensor:
    """The level of every image, (B, 1, …) or (), as `apply` draws it."""
    drawn = sample_level(level, replace(draws, dtype=torch.float64, device="cpu"), "level")
    if isinstance(drawn, Tensor):
        return per_image(drawn.to(clean.device, clean.dtype.to_real()), clean)
    return torch.as_tensor(drawn, dtype=clean.dtype.to_real(), device=clean.device)


def _rates(clean: Tensor) -> np.ndarray:
    """The intensities as numpy doubles; values that are negative by rounding alone become 0."""
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
    """Refuse draws for another number of images.

    Raises:
        ShapeError: with both numbers.
    """
    if clean.shape[0] != len(draws):
        raise ShapeError(
            f"{owner}.apply: {clean.shape[0]} measurements and draws for {len(draws)} images; "
            "pass one image index per measurement."
        )
