"""Priors made of priors: a sum of two, and one with a weight."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.priors.prior import Prior, lacks
from unfold.pytree import over, same_as
from unfold.typing import Field, Image, PerImage, Scalar


@dataclass(frozen=True)
class Sum(Prior):
    """g(x) = Σ gᵢ(x).

    It has a value, and a gradient, where all its terms have one. It has a prox where that is exact:
    at most one term is not a box, and that term is a sum over pixels. Otherwise use an
    algorithm that splits it, such as `DavisYin`.

    Args:
        terms: the gᵢ; `Weighted` gives one its own weight.

    Source: Bauschke and Combettes, Convex analysis and monotone operator theory in Hilbert spaces
    (2nd ed., 2017), chapter 24 (on an interval, the prox of a function of one variable is
    projected).
    """

    provides = frozenset({"split"})

    terms: tuple[Prior, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms:
            raise ConfigError("Sum.terms = []: at least one prior is expected.")

    def offers(self) -> frozenset[str]:
        common = frozenset({"value", "grad"}).intersection(*(t.offers() for t in self.terms))
        exact = frozenset({"prox"}) if self._composes() else frozenset[str]()
        return self.provides | common | exact

    uses_lambda = over("terms", any, "uses_lambda")

    def with_denoisers(self, change: Callable[[Denoiser], Denoiser]) -> Prior:
        return replace(self, terms=tuple(term.with_denoisers(change) for term in self.terms))

    @property
    def lipschitz(self) -> Scalar:
        """Σ Lᵢ."""
        return sum((term.lipschitz for term in self.terms), start=0.0)

    def prox(self, v: Image, weight: Scalar) -> Image:
        """The prox of the term that is no box, then the boxes: exact for functions of one pixel."""
        if not self._composes():
            raise ConfigError(lacks(self, "prox"))
        for term in sorted(self.terms, key=lambda term: term.is_box):
            v = term.prox(v, weight)
        return v

    def grad(self, x: Image) -> Image:
        """Σ ∇gᵢ(x)."""
        return torch.stack([term.grad(x) for term in self.terms]).sum(0)

    def value(self, x: Image) -> PerImage:
        return torch.stack([term.value(x) for term in self.terms]).sum(0)

    def _composes(self) -> bool:
        """Whether the prox of the sum is that of one term, with boxes after it."""
        if not all("prox" in term.offers() for term in self.terms):
            return False
        proper = [term for term in self.terms if not term.is_box]
        pixelwise = all(term.pixelwise for term in self.terms)
        return len(self.terms) == 1 or (len(proper) <= 1 and pixelwise)


@dataclass(frozen=True)
class Weighted(Prior):
    """c·g; inside a `Sum`, every term may learn its weight: `prior.terms.0.weight`.

    Args:
        prior: g.
        weight: c; λ multiplies it.
    """

    prior: Prior
    weight: Scalar = param(1.0, nonnegative)

    @property
    def terms(self) -> tuple[Prior, ...]:
        if self.prior.terms == (self.prior,):
            return (self,)
        return tuple(replace(self, prior=term) for term in self.prior.terms)

    offers = same_as("prior.offers")
    uses_lambda = same_as("prior.uses_lambda")
    pixelwise = same_as("prior.pixelwise")
    is_box = same_as("prior.is_box")
    analysis_norm_squared = same_as("prior.analysis_norm_squared")
    analysis = same_as("prior.analysis")

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

    def project(self, u: Field, weight: Scalar) -> Field:
        """The projection onto the ball of radius wc."""
        return self.prior.project(u, weight * self.weight)

    def shrink(self, u: Field, weight: Scalar) -> Field:
        """prox_{wch}(u)."""
        return self.prior.shrink(u, weight * self.weight)
