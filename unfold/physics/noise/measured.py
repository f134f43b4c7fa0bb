"""The noise of an instrument: nothing is simulated, and its level is stated, or estimated."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unfold.errors import ConfigError, DataError, listing
from unfold.physics.levels import Level
from unfold.physics.noise.base import Moments, Noise, levels
from unfold.physics.operator import Operator
from unfold.pytree import per_image
from unfold.random import Draws
from unfold.typing import Measurement, PerImage

ESTIMATE = "estimate"

DATA = "data"
"""The word for what a physics takes from the data, by the name of the field, and does not draw."""

PATCH = 7
"""Pixels along a side of a patch."""

FLAT = 383.8063823125927
"""What the squared differences of unit noise in a patch exceed with a chance of 1e-6: of the gamma
distribution of shape 48/2 and mean 168, the rank and the trace of their quadratic form."""

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
        return KnownNoise(None, values=parameters["sigma"])

    def measured_by(self, operator: Operator) -> "MeasuredNoise":
        return Estimated(operator=operator) if self.sigma == ESTIMATE else self

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


@dataclass(frozen=True, eq=False)
class Estimated(MeasuredNoise):
    """y as an instrument gave it, of a level that is estimated with the operator that measured."""

    operator: Operator = field(kw_only=True)

    def moments(self, clean: Measurement, draws: Draws) -> Moments:
        return Moments(clean, per_image(estimate_level(clean, self.operator) ** 2, clean))


@torch.no_grad()
def estimate_level(y: Measurement, operator: Operator | None = None) -> PerImage:
    """σ of additive Gaussian noise, (B,): of complex y by its outer frequencies, else by patches.

    Where the operator measures nothing, such as missing pixels, y is noise, or 0 where an
    instrument has no value; then neighbours that it measured are compared.

    Raises:
        ConfigError: y is no image, and not complex frequencies.
    """
    if y.is_complex() and y.ndim >= 3:
        return torch.stack([_of_frequencies(one) for one in y])
    if y.ndim == 4 and min(y.shape[-2:]) > 2 * PATCH:
        known = _known(operator, y)
        return torch.stack([_of_channels(*one) for one in zip(y, known, strict=True)])
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


def _known(operator: Operator | None, y: Tensor) -> Tensor:
    """Which entries of y depend on the image, as far as the operator offers a bound of |A|."""
    if operator is None or (above := operator.abs_operator) is None:
        return torch.ones_like(y, dtype=torch.bool)
    sums = above.A(torch.ones_like(above.start_image))
    return (sums > 1e-5 * sums.amax((1, 2, 3), keepdim=True)).expand(y.shape)


def _of_channels(y: Tensor, known: Tensor) -> Tensor:
    noise = y[~known].double()
    if len(noise) < PATCH**2 or not noise.any():
        pairs = zip(y.double(), known, strict=True)
        noise = torch.stack([_of_image(x) if m.all() else _of_neighbours(x, m) for x, m in pairs])
    return noise.square().mean().sqrt().to(y.dtype)


def _of_neighbours(x: Tensor, known: Tensor) -> Tensor:
    """σ² = 2γ(h) − γ(2h), γ(h) = median (x(u + h) − x(u))² / (2 · 0.455) of known pixels.

    The nugget of a variogram that grows linearly; h is the first distance that enough pairs have.

    Source: Cressie and Hawkins, Robust estimation of the variogram, Mathematical Geology 12 (1980).
    """
    sides = ((x, known), (x.T, known.T))
    for h in range(1, min(x.shape) // 2):
        pairs = ([(t[d:] - t[:-d])[m[d:] & m[:-d]] for t, m in sides] for d in (h, 2 * h))
        one, two = (torch.cat(found).square() for found in pairs)
        if min(len(one), len(two)) >= PATCH**2:
            near, far = one.median() / 0.91, two.median() / 0.91
            return (2 * near - far).clamp(near / 4, near).sqrt()
    raise ConfigError(
        f"sigma = {ESTIMATE}: {int(known.sum())} measured pixels, no neighbours; state the level."
    )


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
        flat = texture < variance * FLAT
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
