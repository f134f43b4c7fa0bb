"""Noise whose strength or distribution depends on the signal."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unfold.parameters.bounds import bounded, nonnegative, positive
from unfold.physics.levels import Level, level_per_image, sample_level
from unfold.physics.noise.additive import refuse_complex
from unfold.physics.noise.base import (
    IN_IMAGES,
    Gaussian,
    Moments,
    Noise,
    Poisson,
    levels,
    on_cpu,
    same_batch,
)
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement


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
    sigma: Level = bounded(accepted=nonnegative, note=IN_IMAGES, level=True)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        refuse_complex("PoissonGaussian", clean, "photons are not counted")
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

    sigma: Level = bounded(accepted=nonnegative, note=IN_IMAGES, level=True)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        refuse_complex("Rician", clean, "magnitudes are not measured")
        same_batch("Rician", clean, draws)
        own = draws.like(clean)
        sigma = sample_level(self.sigma, own, "level")
        sigma = per_image(sigma, clean) if isinstance(sigma, Tensor) else sigma
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
        same_batch("Speckle", clean, draws)
        looks = level_per_image(self.looks, on_cpu(draws), "level")
        shape = tuple(clean.shape[1:])

        def factors(g: np.random.Generator, position: int) -> np.ndarray:
            return np.asarray(g.gamma(looks[position], 1 / looks[position], shape))

        return clean * draws.like(clean).each("noise", factors)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        """v, and |v|² / looks."""
        return Moments(clean, clean.abs() ** 2 / levels(self.looks, draws, clean))


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
        refuse_complex("Transmission", clean, "photons are not counted")
        same_batch("Transmission", clean, draws)
        photons = level_per_image(self.photons, on_cpu(draws), "level")
        passed = np.exp(-self.attenuation * clean.detach().cpu().double().numpy())

        def integrals(g: np.random.Generator, position: int) -> np.ndarray:
            counts = np.maximum(g.poisson(photons[position] * passed[position]), 0.5)
            return np.asarray(-np.log(counts / photons[position]) / self.attenuation)

        own = replace(draws, dtype=clean.dtype, device=clean.device)
        return own.each("noise", integrals)
