"""The Kullback–Leibler divergence, for photon counts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.fidelities.fidelity import Fidelity, expect_step
from unfold.parameters.bounds import bounded, nonnegative
from unfold.typing import Measurement, PerImage, Scalar


@dataclass(frozen=True)
class PoissonFidelity(Fidelity):
    """d(v, y) = Σ v + b − y + y log(y / (v + b)): the negative log-likelihood of Poisson counts.

    It is the Kullback–Leibler divergence of v + b from y, 0 where they agree. Its domain is y ≥ 0
    and v + b > 0, with v + b = 0 where y = 0; there, 0 log 0 = 0 and the gradient is 1. At
    v + b = 0 < y the value is ∞ and the gradient −∞; at v + b < 0 the value is ∞ and the gradient
    NaN, so that an iteration that leaves the domain stops. A y below 0 gives NaN.

    Args:
        background: b ≥ 0, known counts that do not come from the image, in the unit of y.

    Raises:
        ConfigError: the background is negative or not finite, or v is complex.

    Source: Figueiredo and Bioucas-Dias, Restoration of Poissonian images using alternating
    direction optimization, TIP 19 (2010), section III.
    """

    provides = frozenset({"grad", "prox_conj", "counts"})

    background: float = bounded(0.0, nonnegative)

    def value(self, v: Measurement, y: Measurement) -> PerImage:
        rate = self._rate(v)
        safe = torch.where(y == 0, torch.ones_like(rate), rate.clamp(min=0))
        terms = rate - y + torch.xlogy(y, y) - torch.xlogy(y, safe)
        return terms.masked_fill(rate < 0, torch.inf).flatten(1).sum(1)

    def grad(self, v: Measurement, y: Measurement) -> Measurement:
        """∇d = 1 − y / (v + b)."""
        rate = self._rate(v)
        rate = torch.where((y == 0) & (rate == 0), torch.ones_like(rate), rate)
        return 1 - y / rate.masked_fill(rate < 0, torch.nan)

    def prox(self, v: Measurement, y: Measurement, gamma: Scalar) -> Measurement:
        """u with r² − (v + b − γ)r − γy = 0, r = u + b ≥ 0."""
        expect_step(self, gamma)
        return _positive_root(self._rate(v) - gamma, gamma * y) - self.background

    def prox_conj(self, u: Measurement, y: Measurement, sigma: Scalar) -> Measurement:
        """1 − r with r² + (u + σb − 1)r − σy = 0, r ≥ 0."""
        expect_step(self, sigma)
        _expect_real(u)
        return 1 - _positive_root(1 - u - sigma * self.background, sigma * y)

    def _rate(self, v: Measurement) -> Measurement:
        _expect_real(v)
        return v + self.background


def _expect_real(v: Tensor) -> None:
    if v.is_complex():
        raise ConfigError("Poisson counts real intensities, and this measurement is complex.")


def _positive_root(s: Tensor, product: Tensor) -> Tensor:
    """The root r ≥ 0 of r² − sr − product = 0, without cancellation for either sign of s."""
    # The floor keeps the derivative finite where s and the product are 0; the value is 0.
    squared = s * s + 4 * product
    larger = (s.abs() + squared.clamp(min=torch.finfo(s.dtype).tiny).sqrt()) / 2
    return torch.where(s >= 0, larger, product / larger)
