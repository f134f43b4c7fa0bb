"""A prior of learned filters and shrinkage functions."""

from dataclasses import dataclass

from unfold.denoisers.shrinkage import ShrinkageField
from unfold.parameters.networks import Each
from unfold.priors.denoiser_priors import DenoiserPrior
from unfold.priors.prior import expect_weight
from unfold.solvers.linear_map import LinearMap
from unfold.typing import Field, Image, Scalar


@dataclass(frozen=True)
class LearnedShrinkage(DenoiserPrior):
    """g = h∘K with learned filters K; learned functions S replace prox_{wh}, and w drops out.

    Args:
        denoiser: K and S, such as `GaussianShrinkage`; its prox is replaced by their D.

    Source: Schmidt and Roth, Shrinkage fields for effective image restoration, CVPR 2014, sec. 3.
    """

    provides = frozenset({"prox", "shrinkage"})
    uses_lambda = False
    representations, kind = ("parts",), ShrinkageField

    denoiser: Each[ShrinkageField]

    def prox(self, v: Image, weight: Scalar) -> Image:
        """D(v); `weight` is not used."""
        expect_weight(self, weight)
        return self.denoise(v)

    @property
    def analysis(self) -> LinearMap:
        network: ShrinkageField = self.denoiser  # type: ignore[assignment]  # of this iteration
        return network.analysis

    def shrink(self, u: Field, weight: Scalar) -> Field:
        """S(u); `weight` is not used."""
        expect_weight(self, weight)
        network: ShrinkageField = self.denoiser  # type: ignore[assignment]  # of this iteration
        return network.shrink(u)
