"""A sum of priors."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.priors.prior import Prior, lacks
from unfold.typing import Image, PerImage, Scalar


@dataclass(frozen=True)
class Sum(Prior):
    """g(x) = Σ gᵢ(x).

    It has a value, and a gradient, where all its terms have one. It has a prox where that is exact:
    at most one term is not a box, and that term is a sum over pixels. Otherwise use an
    algorithm that splits it, such as `DavisYin`.

    Args:
        terms: the gᵢ; `Weighted` gives one its own weight.

    Raises:
        ConfigError: there is no term.

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

    @property
    def uses_lambda(self) -> bool:
        return any(term.uses_lambda for term in self.terms)

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
        return len(self.terms) == 1 or (
            len(proper) <= 1 and all(term.pixelwise for term in self.terms)
        )
