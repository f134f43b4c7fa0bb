"""Noise whose strength or law depends on the signal."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unfold.physics.additive_noise import refuse_complex
from unfold.physics.level import Level, checked, draw_level
from unfold.physics.noise import Gaussian, Noise, Poisson, same_batch
from unfold.random import Draws
from unfold.tree import per_image
from unfold.typing import Measurement


@dataclass(frozen=True)
class PoissonGaussian(Noise):
    """y = k / gain + σn, k ~ Poisson(gain · v), n normal: mean v, variance v / gain + σ².

    Args:
        gain: photons that an intensity of 1 gives, > 0; a number, or a range of which every image
            draws its own value. It is the level of `with_level`.
        sigma: σ ≥ 0, of what is read out, in units of an image in [0, 1]; a number or a range.

    Raises:
        ConfigError: the gain is not positive, σ is negative, or v is complex.
        DataError: v has negative values.

    Source: Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise modeling
    and fitting for single-image raw-data, IEEE Trans. Image Processing 17 (2008), section II.
    """

    gain: Level
    sigma: Level

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", Poisson(self.gain).gain)
        object.__setattr__(self, "sigma", Gaussian(self.sigma).sigma)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        refuse_complex("PoissonGaussian", clean, "photons are not counted")
        counted = Poisson(self.gain).apply(clean, draws.within("photons"))
        return Gaussian(self.sigma).apply(counted, draws.within("read out"))

    def with_level(self, level: Level) -> "PoissonGaussian":
        return replace(self, gain=level)


@dataclass(frozen=True)
class Rician(Noise):
    """y = |v + σ(n₁ + i n₂)|, n₁ and n₂ standard normal: the magnitude of a complex signal.

    E y² = v² + 2σ²; at v = 0, y has the law of Rayleigh, of mean σ√(π/2). At σ = 0, y = |v|.

    Args:
        sigma: σ ≥ 0, of each part, in units of an image in [0, 1]; a number, or a range of which
            every image draws its own value.

    Raises:
        ConfigError: σ is negative or not finite, or v is complex.

    Source: Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magnetic Resonance in
    Medicine 34 (1995), equation 1.
    """

    sigma: Level

    def __post_init__(self) -> None:
        words = "must be zero or positive, in units of an image in [0, 1]"
        sigma = checked("Rician.sigma", self.sigma, lambda s: s >= 0, words)
        object.__setattr__(self, "sigma", sigma)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        refuse_complex("Rician", clean, "magnitudes are not measured")
        same_batch("Rician", clean, draws)
        own = draws.like(clean)
        sigma = draw_level(self.sigma, own, "level")
        sigma = per_image(sigma, clean) if isinstance(sigma, Tensor) else sigma
        across, along = (sigma * own.normal(name, clean.shape[1:]) for name in ("across", "along"))
        return torch.hypot(clean + along, across)

    def with_level(self, level: Level) -> "Rician":
        return Rician(level)


@dataclass(frozen=True)
class Speckle(Noise):
    """y = v s, s ~ Gamma of mean 1 and variance 1 / looks: mean v, variance v² / looks.

    Args:
        looks: of coherent images averaged, > 0; a number, or a range of which every image draws its
            own value. More looks are less noise; one gives the exponential law.

    Raises:
        ConfigError: the looks are not positive and finite.

    Source: Goodman, Some fundamental properties of speckle, J. Opt. Soc. Am. 66 (1976).
    """

    looks: Level

    def __post_init__(self) -> None:
        words = "must be positive, the number of images averaged"
        looks = checked("Speckle.looks", self.looks, lambda n: n > 0, words)
        object.__setattr__(self, "looks", looks)

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        same_batch("Speckle", clean, draws)
        level = draw_level(self.looks, replace(draws, dtype=torch.float64, device="cpu"), "level")
        looks = np.broadcast_to(np.asarray(level), len(draws))
        shape = tuple(clean.shape[1:])

        def factors(g: np.random.Generator, position: int) -> np.ndarray:
            return np.asarray(g.gamma(looks[position], 1 / looks[position], shape))

        return clean * draws.like(clean).each("noise", factors)

    def with_level(self, level: Level) -> "Speckle":
        return Speckle(level)
