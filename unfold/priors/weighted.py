"""A prior with its own weight."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from unfold.denoisers.denoiser import Denoiser
from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.priors.prior import Prior
from unfold.typing import Field, Image, PerImage, Scalar


@dataclass(frozen=True)
class Weighted(Prior):
    """c·g; inside a `Sum`, every term may learn its weight: `prior.terms.0.weight`.

    Args:
        prior: g.
        weight: c; λ multiplies it.
    """

    prior: Prior
    weight: Scalar = param(1.0, nonnegative)

    def offers(self) -> frozenset[str]:
        return self.prior.offers()

    @property
    def terms(self) -> tuple[Prior, ...]:
        if self.prior.terms == (self.prior,):
            return (self,)
        return tuple(replace(self, prior=term) for term in self.prior.terms)

    @property
    def uses_lambda(self) -> bool:
        return self.prior.uses_lambda

    @property
    def pixelwise(self) -> bool:
        return self.prior.pixelwise

    @property
    def is_box(self) -> bool:
        return self.prior.is_box

    @property
    def analysis_norm_squared(self) -> float:
        return self.prior.analysis_norm_squared

    def cannot_act(self) -> Mapping[str, str]:
        if self.prior.uses_lambda:
            return {}
        return {"weight": f"{type(self.prior).__name__} takes no weight"}

    def with_denoisers(self, change: Callable[[Denoiser], Denoiser]) -> Prior:
        return replace(self, prior=self.prior.with_denoisers(change))

    @property
    def lipschitz(self) -> Scalar:
        """c L_g."""
        return self.weight * self.prior.lipschitz

    def prox(self, v: Image, weight: Scalar) -> Image:
        """prox_{wcg}(v)."""
        return self.prior.prox(v, weight * self.weight)

    def grad(self, x: Image) -> Image:
        """c∇g(x)."""
        return self.weight * self.prior.grad(x)

    def value(self, x: Image) -> PerImage:
        """cg(x); an indicator stays as it is, where 0 · ∞ would be no number."""
        value = self.prior.value(x)
        return self.weight * value if self.prior.uses_lambda else value

    def analyse(self, x: Image) -> Field:
        return self.prior.analyse(x)

    def analyse_adjoint(self, u: Field) -> Image:
        return self.prior.analyse_adjoint(u)

    def project(self, u: Field, weight: Scalar) -> Field:
        """The projection onto the ball of radius wc."""
        return self.prior.project(u, weight * self.weight)
