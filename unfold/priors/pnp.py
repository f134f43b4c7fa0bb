"""Plug and play: a denoiser where the prox would be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from unfold.constraints import nonnegative
from unfold.denoisers.denoiser import Denoiser
from unfold.priors.prior import Prior
from unfold.recipe import param
from unfold.typing import Image, Scalar


@dataclass(frozen=True)
class PnP(Prior):
    """prox_{wg}(v) is replaced by D(v, σ); the weight w, and with it λ, drops out.

    Args:
        denoiser: D, a network.
        sigma: σ, the level given to D, in units of an image in [0, 1]; acts only where D takes it.
        weights: where the weights of D come from, for the record; None if they are random.

    Source: Venkatakrishnan, Bouman and Wohlberg, Plug-and-play priors, GlobalSIP 2013.
    """

    provides = frozenset({"prox"})
    uses_lambda = False

    denoiser: Denoiser
    sigma: Scalar = param(0.05, nonnegative)
    weights: str | None = None

    def prox(self, v: Image, weight: Scalar) -> Image:
        """D(v, σ); `weight` is not used."""
        denoised: Image = self.denoiser(v, self.sigma)
        return denoised

    def cannot_act(self) -> Mapping[str, str]:
        if self.denoiser.uses_sigma:
            return {}
        return {"sigma": f"{type(self.denoiser).__name__} takes no noise level"}

    def with_denoisers(self, change: Callable[[Denoiser], Denoiser]) -> Prior:
        return replace(self, denoiser=change(self.denoiser))
