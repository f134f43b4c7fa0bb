"""Base class of priors defined by a denoiser."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.priors.prior import Prior
from unfold.typing import Image, Scalar


@dataclass(frozen=True)
class DenoiserPrior(Prior):
    """A prior that a denoiser D(v, σ) defines.

    Args:
        denoiser: D, a network.
        sigma: σ, the level given to D, in units of an image in [0, 1]; acts only where D takes it.
        weights: where the weights of D come from, for the record; None if they are random.
    """

    denoiser: Denoiser
    sigma: Scalar = param(0.05, nonnegative)
    weights: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.denoiser, Denoiser):
            raise ConfigError(
                f"{type(self).__name__}.denoiser: {type(self.denoiser).__name__} is not a denoiser "
                "of unfold; make it a subclass of unfold.denoisers.denoiser.Denoiser with "
                "`channels` and forward(v, sigma)."
            )
        super().__post_init__()

    def cannot_act(self) -> Mapping[str, str]:
        if self.denoiser.uses_sigma:
            return {}
        return {"sigma": f"{type(self.denoiser).__name__} takes no noise level"}

    def with_denoisers(self, change: Callable[[Denoiser], Denoiser]) -> Prior:
        return replace(self, denoiser=change(self.denoiser))

    def denoise(self, v: Image) -> Image:
        """D(v, σ)."""
        denoised: Image = self.denoiser(v, self.sigma)
        return denoised
