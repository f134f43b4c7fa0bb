"""Noise whose strength or distribution depends on the signal, as of photons and detectors."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, DataError
from unfold.parameters.bounds import bounded, inside, positive, whole
from unfold.physics.levels import Level, level_per_image
from unfold.physics.noise.base import (
    IN_IMAGES,
    Gaussian,
    Moments,
    Noise,
    level_of,
    levels,
    of_images,
    on_cpu,
)
from unfold.random import Draws
from unfold.typing import Measurement


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
        self.expect(clean, draws, "photons are not counted")
        rates = _rates(clean)
        gains = level_per_image(self.gain, on_cpu(draws), "level")
        own = draws.like(clean)
        return own.each("noise", lambda g, i: g.poisson(gains[i] * rates[i]) / gains[i])

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and v / gain."""
        return Moments(clean, clean.clamp(min=0) / levels(self.gain, draws, clean))


def _rates(clean: Tensor) -> np.ndarray:
    """The intensities as numpy doubles; values that are negative by rounding become 0."""
    rates = clean.detach().cpu().double().numpy()
    rounding = 1e3 * torch.finfo(clean.dtype).eps * max(1.0, float(np.abs(rates).max(initial=0)))
    if not rates.min(initial=0) >= -rounding:
        raise DataError(
            f"Poisson: the clean measurement goes down to {rates.min():.3g}; intensities must be "
            "zero or positive: scale the images to [0, 1] or use Gaussian."
        )
    return np.asarray(rates.clip(0))


@dataclass(frozen=True)
class PoissonGaussian(Noise):
    """y = k / gain + σn, k ~ Poisson(gain · v), n normal: mean v, variance v / gain + σ².

    Args:
        gain: photons that an intensity of 1 gives, > 0; a number, or a range to sample from per
            image. It is the level of `with_level`.
        sigma: σ ≥ 0, of what is read out, in units of an image in [0, 1]; a number or a range.

    Source: Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise modeling
    and fitting for single-image raw-data, IEEE Trans. Image Processing 17 (2008), section II.
    """

    supports_sure = True

    gain: Level = bounded(accepted=positive, note="in photons for an intensity of 1", level=True)
    sigma: Level = bounded(accepted=of_images, note=IN_IMAGES, level=True)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        self.expect(clean, draws, "photons are not counted")
        counted = Poisson(self.gain).apply(clean, draws.within("photons"))
        return Gaussian(self.sigma).apply(counted, draws.within("read out"))

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and v / gain + σ², also below 0: so that it is unbiased for a noisy y instead of v."""
        counted = clean / levels(self.gain, draws.within("photons"), clean)
        read = Gaussian(self.sigma).moments(clean, draws.within("read out")).variance
        return Moments(clean, counted + read)


@dataclass(frozen=True)
class Rician(Noise):
    """y = |v + σ(n₁ + i n₂)|, n₁ and n₂ standard normal: the magnitude of a complex signal.

    E y² = v² + 2σ²; at v = 0, y is Rayleigh distributed, of mean σ√(π/2). At σ = 0, y = |v|.

    Args:
        sigma: σ ≥ 0, of each part, in units of an image in [0, 1]; a number, or a range to sample
            from per image.

    Source: Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magnetic Resonance in
    Medicine 34 (1995), equation 1.
    """

    sigma: Level = bounded(accepted=of_images, note=IN_IMAGES, level=True)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        self.expect(clean, draws, "magnitudes are not measured")
        own = draws.like(clean)
        sigma = level_of(self.sigma, draws, clean)
        across, along = (sigma * own.normal(name, clean.shape[1:]) for name in ("across", "along"))
        return torch.hypot(clean + along, across)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """σ√(π/2) e^{−t}((1 + 2t)I₀(t) + 2t I₁(t)), t = v²/4σ²; and v² + 2σ² less its square."""
        sigma = levels(self.sigma, draws, clean)
        t = clean**2 / (4 * sigma.clamp(min=1e-150) ** 2)
        bessel = (1 + 2 * t) * torch.special.i0e(t) + 2 * t * torch.special.i1e(t)
        mean = torch.where(sigma > 0, sigma * math.sqrt(math.pi / 2) * bessel, clean.abs())
        return Moments(mean, torch.where(sigma > 0, clean**2 + 2 * sigma**2 - mean**2, 0.0))


@dataclass(frozen=True)
class Speckle(Noise):
    """y = v s, s ~ Gamma of mean 1 and variance 1 / looks: mean v, variance v² / looks.

    Args:
        looks: of coherent images averaged, > 0; a number, or a range to sample from per image. More
            looks are less noise; one gives the exponential distribution.

    Source: Goodman, Some fundamental properties of speckle, J. Opt. Soc. Am. 66 (1976).
    """

    looks: Level = bounded(accepted=positive, note="the number of images averaged", level=True)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        self.expect(clean, draws)
        looks = level_per_image(self.looks, on_cpu(draws), "level")
        own, shape = draws.like(clean), tuple(clean.shape[1:])
        return clean * own.each("noise", lambda g, i: g.gamma(looks[i], 1 / looks[i], shape))

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and |v|² / looks."""
        return Moments(clean, clean.abs() ** 2 / levels(self.looks, draws, clean))

    def measured_moments(self, y: Measurement, draws: Draws) -> Moments:
        """y, and |y|² / (looks + 1): E|y|² = |v|² (1 + 1 / looks)."""
        return Moments(y, y.abs() ** 2 / (levels(self.looks, draws, y) + 1))


@dataclass(frozen=True)
class Transmission(Noise):
    """y = −log(max(k, ½) / photons) / μ, k ~ Poisson(photons · exp(−μv)): counts behind v.

    For many photons the mean is v and the variance exp(μv) / (μ² photons): the noise is strongest
    behind what is thick. Where no photon arrives, half of one is assumed. The sample passes no
    gradient to v, and is made on the CPU.

    Args:
        photons: sent along each ray, > 0; a number, or a range to sample from per image. A larger
            number is less noise.
        attenuation: μ > 0, of an integral of 1: e.g. that of a side of the image, all of
            intensity 1.

    Source: Leuschner et al., LoDoPaB-CT, a benchmark dataset for low-dose computed tomography
    reconstruction, Scientific Data 8 (2021), section on the noise model; there a tenth of a photon
    is assumed.
    """

    photons: Level = bounded(accepted=positive, note="photons along each ray", level=True)
    attenuation: float = bounded(4.0, positive, "of an integral of 1")

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        self.expect(clean, draws, "photons are not counted")
        photons = level_per_image(self.photons, on_cpu(draws), "level")
        passed = np.exp(-self.attenuation * clean.detach().cpu().double().numpy())

        def integrals(g: np.random.Generator, position: int) -> np.ndarray:
            counts = np.maximum(g.poisson(photons[position] * passed[position]), 0.5)
            return np.asarray(-np.log(counts / photons[position]) / self.attenuation)

        return draws.like(clean).each("noise", integrals)

    def measured_moments(self, y: Measurement, draws: Draws) -> Moments:
        """y, and exp(μy) / (μ² photons)."""
        photons = levels(self.photons, draws, y)
        return Moments(y, (self.attenuation * y).exp() / (self.attenuation**2 * photons))


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
        self.expect(clean, draws, "there is no range from 0 to 1")
        p = level_of(self.probability, draws, clean)
        chance = draws.like(clean).uniform("noise", clean.shape[1:])
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
        self.expect(clean, draws, "there is no range from 0 to 1")
        steps = 2**self.bits - 1
        value: Tensor = torch.round(clean.clamp(0, 1) * steps) / steps
        return value

    def measured_moments(self, y: Measurement, draws: Draws) -> Moments:
        """y, and Δ² / 12, Δ = 1 / (2^bits − 1): the error is spread evenly over a step."""
        return Moments(y, torch.full_like(y, 1 / (12 * (2**self.bits - 1) ** 2)))

    def with_level(self, level: Level) -> "Quantisation":
        if not isinstance(level, float | int) or int(level) != level:
            raise ConfigError(f"Quantisation.bits = {level}: must be a whole number from 1 to 16.")
        return Quantisation(int(level))
