"""The noise of an instrument: nothing is simulated, and its level is stated, or estimated."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from unfold.errors import ConfigError, DataError, listing
from unfold.physics.levels import Level
from unfold.physics.noise.base import Moments, Noise, levels
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement, PerImage

ESTIMATE = "estimate"

DATA = "data"
"""The word for what a physics takes from the data, by the name of the field, and does not draw."""

PATCH = 7
"""Pixels along a side of a patch."""

CERTAIN = 1e-6
"""The chance that the gradients of noise alone are above the threshold of a flat patch."""

CORNER = 0.9
"""Frequencies beyond so much of the highest that was acquired are noise."""


@dataclass(frozen=True)
class MeasuredNoise(Noise):
    """y as an instrument gave it.

    Args:
        sigma: σ of its noise, in the unit of y: a number, the word `data`, the word `estimate`, of
            each measurement, or None where it is not known.
    """

    sigma: Level | str | None = ESTIMATE

    supports_sure = True

    def __post_init__(self) -> None:
        if isinstance(self.sigma, str) and self.sigma not in (ESTIMATE, DATA):
            raise ConfigError(
                f"MeasuredNoise.sigma = {self.sigma}: must be a number, {DATA}, {ESTIMATE} or null."
            )

    def given(self, parameters: Mapping[str, Tensor]) -> "MeasuredNoise":
        if self.sigma != DATA:
            return self
        if "sigma" not in parameters:
            raise DataError(
                f"MeasuredNoise.sigma = {DATA}: the data have {listing(parameters)}. "
                f"Set {ESTIMATE}, or a number."
            )
        return KnownNoise(values=parameters["sigma"])

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        raise ConfigError(
            "MeasuredNoise simulates nothing, and the data has images without measurements: choose "
            "a noise that is drawn, such as Gaussian."
        )

    def moments(self, clean: Measurement, draws: Draws) -> Moments | None:
        if self.sigma is None:
            return None
        if self.sigma == ESTIMATE:
            return Moments(clean, per_image(estimate_level(clean) ** 2, clean))
        assert not isinstance(self.sigma, str)
        return Moments(clean, levels(self.sigma, draws, clean) ** 2)


@dataclass(frozen=True, eq=False)
class KnownNoise(MeasuredNoise):
    """y as an instrument gave it, of a batch whose data says the levels.

    Args:
        values: σ of each measurement, (B,).
    """

    values: Tensor = field(kw_only=True)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        return Moments(clean, per_image(self.values.to(clean.real) ** 2, clean))


@torch.no_grad()
def estimate_level(y: Measurement) -> PerImage:
    """σ of additive Gaussian noise, (B,): of complex y by its outer frequencies, else by patches.

    Raises:
        ConfigError: y is no image, and not complex frequencies.
    """
    if y.is_complex() and y.ndim >= 3:
        return torch.stack([_of_frequencies(one) for one in y])
    if y.ndim == 4 and min(y.shape[-2:]) > 2 * PATCH:
        return torch.stack([_of_channels(one) for one in y])
    raise ConfigError(
        f"sigma = {ESTIMATE}: measurements of shape {tuple(y.shape[1:])} are neither complex "
        f"frequencies nor images of more than {2 * PATCH} pixels; state the level."
    )


def _of_frequencies(y: Tensor) -> Tensor:
    """σ² = median |y|² / log 2 where only noise is: |n|² has an exponential distribution.

    Frequency 0 is at index 0; what was not acquired is 0.
    """
    v, u = (torch.fft.fftfreq(n, device=y.device) for n in y.shape[-2:])
    radius = torch.hypot(v[:, None], u).expand(y.shape)
    acquired = y != 0
    outer = acquired & (radius >= CORNER * radius[acquired].max()) if acquired.any() else acquired
    power = y[outer].abs().square()
    return (power.median() / math.log(2)).sqrt() if len(power) else power.sum()


def _of_channels(y: Tensor) -> Tensor:
    return torch.stack([_of_image(one.double()) for one in y]).square().mean().sqrt().to(y.dtype)


def _of_image(x: Tensor) -> Tensor:
    """The square root of the smallest eigenvalue of the covariance of flat patches.

    A patch is flat where its squared differences are below what noise alone exceeds with a chance
    of 1e-6; three times the level sets the threshold, and the flat patches the level.

    Source: Liu, Tanaka and Okutomi, Single-image noise level estimation for blind denoising, IEEE
    Trans. Image Processing 22 (2013), sections III and IV.
    """

    def windows(t: Tensor, height: int, width: int) -> Tensor:
        return t.unfold(0, height, 1).unfold(1, width, 1).flatten(0, 1).flatten(1)

    patches = windows(x, PATCH, PATCH)
    across, down = (x[:, 1:] - x[:, :-1]).square(), (x[1:] - x[:-1]).square()
    texture = windows(across, PATCH, PATCH - 1).sum(1) + windows(down, PATCH - 1, PATCH).sum(1)
    variance = _smallest(patches)
    for _ in range(3):
        flat = texture < variance * _threshold()
        if int(flat.sum()) < 2 * PATCH**2:
            break
        variance = _smallest(patches[flat])
    return variance.sqrt()


def _smallest(patches: Tensor) -> Tensor:
    """λ / (1 − √(n/m))², λ the smallest eigenvalue of the covariance of m patches of n pixels.

    Of noise alone λ is σ² times that factor (Marchenko and Pastur, 1967).
    """
    count, size = patches.shape
    centred = patches - patches.mean(0)
    smallest = torch.linalg.eigvalsh(centred.T @ centred / (count - 1))[0].clamp(min=0)
    unbiased: Tensor = smallest / (1 - (size / count) ** 0.5) ** 2
    return unbiased


@lru_cache
def _threshold() -> float:
    """Of the gamma distribution of shape r/2 and mean t, the squared differences of unit noise.

    r is the rank of the differences within a patch, and t the trace of their product.
    """
    rank, trace = PATCH**2 - 1, 4 * PATCH * (PATCH - 1)
    low, high = torch.tensor(1.0).double(), torch.tensor(1e3).double()
    for _ in range(60):  # by halves: PyTorch has no inverse
        middle = (low + high) / 2
        below = torch.special.gammainc(torch.tensor(rank / 2).double(), middle) < 1 - CERTAIN
        low, high = (middle, high) if below else (low, middle)
    return float(low) * 2 * trace / rank
