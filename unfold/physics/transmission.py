"""The noise of X-rays that are counted behind an object."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from unfold.errors import ConfigError
from unfold.physics.additive_noise import refuse_complex
from unfold.physics.level import Level, checked, draw_level
from unfold.physics.noise import Noise, same_batch
from unfold.random import Draws
from unfold.typing import Measurement


@dataclass(frozen=True)
class Transmission(Noise):
    """y = −log(max(k, ½) / photons) / μ, k ~ Poisson(photons · exp(−μv)): counts behind v.

    For many photons the mean is v and the variance exp(μv) / (μ² photons): the noise is strongest
    behind what is thick. Where no photon arrives, half of one is assumed. The draw passes no
    gradient on to v, and is made on the CPU.

    Args:
        photons: sent along each ray, > 0; a number, or a range of which every image draws its own
            value. A larger number is less noise.
        attenuation: μ > 0, of an integral of 1: e.g. that of a side of the image, all of
            intensity 1.

    Raises:
        ConfigError: a value is not positive and finite, or v is complex.

    Source: Leuschner et al., LoDoPaB-CT, a benchmark dataset for low-dose computed tomography
    reconstruction, Scientific Data 8 (2021), section on the noise model; there a tenth of a photon
    is assumed.
    """

    photons: Level
    attenuation: float = 4.0

    def __post_init__(self) -> None:
        words = "must be positive, photons along each ray"
        photons = checked("Transmission.photons", self.photons, lambda n: n > 0, words)
        object.__setattr__(self, "photons", photons)
        if not 0 < self.attenuation < float("inf"):
            raise ConfigError(
                f"Transmission.attenuation = {self.attenuation}: must be positive, of an integral "
                "of 1."
            )

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        refuse_complex("Transmission", clean, "photons are not counted")
        same_batch("Transmission", clean, draws)
        cpu = replace(draws, dtype=torch.float64, device="cpu")
        photons = np.broadcast_to(np.asarray(draw_level(self.photons, cpu, "level")), len(draws))
        passed = np.exp(-self.attenuation * clean.detach().cpu().double().numpy())

        def integrals(g: np.random.Generator, position: int) -> np.ndarray:
            counts = np.maximum(g.poisson(photons[position] * passed[position]), 0.5)
            return np.asarray(-np.log(counts / photons[position]) / self.attenuation)

        own = replace(draws, dtype=clean.dtype, device=clean.device)
        return own.each("noise", integrals)

    def with_level(self, level: Level) -> "Transmission":
        return replace(self, photons=level)
