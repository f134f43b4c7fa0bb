"""Noise: the distribution of a measurement given the clean one; noise that is added to it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import Declared, Range, bounded, inside, warn_of_eight_bits
from unfold.physics.levels import Level, level_names, sample_level
from unfold.physics.operator import Operator
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement

N = TypeVar("N", bound="Noise")

IN_IMAGES = "in units of an image in [0, 1], at most 16; 25 of 255 is 0.098"

of_images = Range("zero or positive", lambda v: 0 <= v <= 16)


class Moments(NamedTuple):
    """Of every entry of y."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Noise(Declared, ABC):
    """The distribution of y given the clean measurement v = Ax."""

    supports_sure: ClassVar[bool] = False
    """Whether E Re h̄(y)(y − v) = E V Re ∂h(y), V the variance of y: exactly, or to first order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sigma = getattr(self, "sigma", 0.0)
        largest = sigma[-1] if isinstance(sigma, tuple) else sigma
        if not isinstance(largest, Tensor):
            warn_of_eight_bits(f"{type(self).__name__}.sigma", largest)

    @abstractmethod
    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        """Sample y for each image; the dtype is that of `clean`."""

    def moments(self, clean: Measurement, draws: Draws) -> Moments | None:
        """Mean and variance of y given v and the levels of these draws; None where none are known.

        For complex y the variance is E|y − mean|².
        """
        return None

    def measured_moments(self, y: Measurement, draws: Draws) -> Moments | None:
        """Estimates of the moments from y alone: those at v = y, unless a subclass knows better."""
        return self.moments(y, draws)

    def given(self: N, parameters: Mapping[str, Tensor]) -> N:
        """The noise of one batch: a level that is taken from the data is in its place."""
        return self

    def measured_by(self: N, operator: Operator) -> N:
        """The noise of what an operator measured, for a level that is estimated."""
        return self

    def expect(self, clean: Measurement, draws: Draws, not_complex: str = "") -> None:
        """Raise for draws of another number of images, or complex measurements, with the reason."""
        name = type(self).__name__
        if not_complex and clean.is_complex():
            raise ConfigError(f"{name}: {not_complex} in complex measurements; use Gaussian.")
        if clean.shape[0] != len(draws):
            raise ShapeError(
                f"{name}.apply: {clean.shape[0]} measurements and draws for {len(draws)} images; "
                "pass one image index per measurement."
            )

    def with_level(self: N, level: Level) -> N:
        """The same noise at another level, its first field that is declared as one."""
        if not (names := level_names(self)):
            raise ConfigError(
                f"{type(self).__name__} has no level to set to {level}; use Gaussian or Poisson."
            )
        return replace(self, **{names[0]: level})


def sigma_of(noise: Noise) -> Level | None:
    """The standard deviation that a noise is declared with; None where it has none."""
    level: Level | None = vars(noise).get("sigma")
    return level


def with_sigma(noise: Noise, sigma: Level) -> Noise:
    """The same noise with another standard deviation σ, which it must have."""
    changed: Noise = replace(noise, sigma=sigma)  # type: ignore[call-arg]
    return changed


@dataclass(frozen=True)
class NoNoise(Noise):
    """y = v."""

    supports_sure = True

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        return clean

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        return Moments(clean, torch.zeros_like(clean, dtype=clean.dtype.to_real()))


def on_cpu(draws: Draws) -> Draws:
    """The same draws in double precision on the CPU."""
    return replace(draws, dtype=torch.float64, device="cpu")


def level_of(level: Level, draws: Draws, clean: Tensor) -> float | Tensor:
    """The level as a number, or of every image, (B, 1, …), in the precision of v."""
    sampled = sample_level(level, draws.like(clean), "level")
    return per_image(sampled, clean) if isinstance(sampled, Tensor) else sampled


def levels(level: Level, draws: Draws, clean: Tensor) -> Tensor:
    """The level of every image, (B, 1, …) or (), as `apply` samples it."""
    sampled = sample_level(level, on_cpu(draws), "level")
    if isinstance(sampled, Tensor):
        return per_image(sampled.to(clean.device, clean.dtype.to_real()), clean)
    return torch.tensor(sampled, dtype=clean.dtype.to_real()).to(clean.device)


@dataclass(frozen=True)
class Additive(Noise):
    """y = v + σn, n of mean 0 and variance 1; for complex v, E|n|² = 1, half in each part.

    Args:
        sigma: σ ≥ 0, the standard deviation, in units of an image in [0, 1]; a number, or a range
            to sample from per image. At σ = 0, y is v exactly.
        known_within: f ≥ 1: in training a network is given f^(u³) σ of each image, u uniform within
            ± 1: half are within f^(1/8) of σ. Tests give σ, and losses such as Stein's use σ.
    """

    sigma: Level = bounded(accepted=of_images, note=IN_IMAGES, level=True)
    known_within: float = bounded(1.0, inside("[1, 16]"))

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

    def measured_moments(self, y: Measurement, draws: Draws) -> Moments:
        known = self.moments(y, draws)
        if self.known_within == 1 or draws.split != "train":
            return known
        factor = self.known_within ** on_cpu(draws).uniform("known", (), -1, 1) ** 3
        return Moments(y, known.variance * per_image(factor.to(known.variance), y) ** 2)


@dataclass(frozen=True)
class Gaussian(Additive):
    """y = v + σn, n standard normal; for complex v, E|n|² = 1, half in each part."""

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
