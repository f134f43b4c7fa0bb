"""Regularisation by denoising."""

from dataclasses import dataclass

from unfold.priors.denoiser_prior import DenoiserPrior
from unfold.typing import Image


@dataclass(frozen=True)
class RED(DenoiserPrior):
    """∇g(x) = x − D(x, σ): images are pulled towards fixed points of the denoiser.

    There is a g with this gradient only where the Jacobian of D is symmetric, which a network does
    not promise, so that no value is claimed.

    Args:
        denoiser: D, a network.
        sigma: σ, the level given to D, in units of an image in [0, 1]; acts only where D takes it.
        weights: where the weights of D come from, for the record; None if they are random.

    Source: Romano, Elad and Milanfar, The little engine that could: regularization by denoising
    (RED), SIAM J. Imaging Sci. 10 (2017), section 3; the claim on g is that of Reehorst and
    Schniter, Regularization by denoising: clarifications and new interpretations, IEEE Trans.
    Comput. Imaging 5 (2019), section III.
    """

    provides = frozenset({"grad"})

    def grad(self, x: Image) -> Image:
        """x − D(x, σ)."""
        return x - self.denoise(x)
