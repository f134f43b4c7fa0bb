"""The score of the images, learned by a denoiser."""

from collections.abc import Mapping
from dataclasses import dataclass

from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.priors.denoiser_prior import DenoiserPrior
from unfold.typing import Image, Scalar


@dataclass(frozen=True)
class Score(DenoiserPrior):
    """∇g(x) = −s(x, σ), s(x, σ) = (D(x, σ) − x) / σ²: g is the negative log-density of images.

    s is the gradient of the log-density of images with Gaussian noise of level σ, where D is the
    mean of the images given a noisy one (Tweedie's formula). A trained D comes near to that, so
    that no value is claimed.

    Args:
        denoiser: D, a network.
        sigma: σ > 0, in units of an image in [0, 1]; it acts through 1/σ² in any case.
        weights: where the weights of D come from, for the record; None if they are random.

    Source: Efron, Tweedie's formula and selection bias, J. Am. Stat. Assoc. 106 (2011), section 1;
    Vincent, A connection between score matching and denoising autoencoders, Neural Comput. 23
    (2011).
    """

    provides = frozenset({"grad"})

    sigma: Scalar = param(0.05, positive)

    def cannot_act(self) -> Mapping[str, str]:
        return {}

    def score(self, x: Image) -> Image:
        """(D(x, σ) − x) / σ²."""
        return (self.denoise(x) - x) / self.sigma**2

    def grad(self, x: Image) -> Image:
        """−s(x, σ)."""
        return -self.score(x)
