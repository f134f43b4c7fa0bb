"""Plug-and-play priors: a denoiser replaces the proximal operator."""

from dataclasses import dataclass

from unfold.priors.denoiser_prior import DenoiserPrior
from unfold.priors.prior import expect_weight
from unfold.typing import Image, Scalar


@dataclass(frozen=True)
class PnP(DenoiserPrior):
    """prox_{wg}(v) is replaced by D(v, σ); the weight w, and with it λ, drops out.

    Args:
        denoiser: D, a network.
        sigma: σ, the level given to D, in units of an image in [0, 1]; acts only where D takes it.
        weights: where the weights of D come from, for the record; None if they are random.

    Source: Venkatakrishnan, Bouman and Wohlberg, Plug-and-play priors, GlobalSIP 2013.
    """

    provides = frozenset({"prox"})
    uses_lambda = False

    def prox(self, v: Image, weight: Scalar) -> Image:
        """D(v, σ); `weight` is not used."""
        expect_weight(self, weight)
        return self.denoise(v)
