"""Priors: the regulariser g, explicit or implicit."""

import math
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.parameters.declare import Recipe
from unfold.solvers.linear_map import LinearMap
from unfold.typing import Field, Image, PerImage, Scalar


@dataclass(frozen=True)
class Prior(Recipe, ABC):
    """g, or what replaces it.

    A subclass declares what it provides and implements those methods. An analysis prior g = h∘K
    also gives K and the projection that is the prox of (wh)*.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    """What algorithms may ask of this class: the names of `DESCRIPTION`."""

    def offers(self) -> frozenset[str]:
        """What algorithms may ask of this very prior; that of a sum depends on its terms."""
        return self.provides

    @property
    def terms(self) -> tuple["Prior", ...]:
        """The gᵢ of g = Σ gᵢ, for algorithms that treat them one by one."""
        return (self,)

    @property
    def uses_lambda(self) -> bool:
        """Whether λ reaches the result; it does not where a network or a set stands for g."""
        return True

    @property
    def pixelwise(self) -> bool:
        """Whether g is a sum of convex functions of single pixels, so that a box may follow it."""
        return False

    @property
    def is_box(self) -> bool:
        """Whether g is the indicator of an interval for every pixel."""
        return False

    @property
    def analysis_norm_squared(self) -> float:
        """‖K‖² of an analysis prior, or a tight upper bound."""
        return 1.0

    @property
    def lipschitz(self) -> Scalar:
        """L_g, a Lipschitz constant of ∇g; infinite where none is known."""
        return math.inf

    def prox(self, v: Image, weight: Scalar) -> Image:
        """argmin_x w g(x) + ½‖x − v‖², w = `weight`."""
        raise ConfigError(lacks(self, "prox"))

    def grad(self, x: Image) -> Image:
        """∇g(x)."""
        raise ConfigError(lacks(self, "grad"))

    def value(self, x: Image) -> PerImage:
        """g(x) of each image."""
        raise ConfigError(lacks(self, "value"))

    @property
    def penalizes(self) -> bool:
        """Whether it adds a penalty to the loss of a training."""
        return False

    def penalty(self, v: Image) -> Tensor:
        """What it adds to the loss of a training where its prox is taken of v."""
        raise ConfigError(f"{type(self).__name__} has no penalty.")

    def with_denoisers(self, change: Callable[[Denoiser], Denoiser]) -> "Prior":
        """The same prior with every denoiser in it changed."""
        return self

    @property
    def analysis(self) -> LinearMap:
        """K, with its tensors."""
        raise ConfigError(lacks(self, "analysis"))

    def project(self, u: Field, weight: Scalar) -> Field:
        """The prox of (wh)*: the projection onto the dual ball of radius w."""
        raise ConfigError(lacks(self, "analysis"))

    def shrink(self, u: Field, weight: Scalar) -> Field:
        """prox_{wh}(u) = u − prox_{(wh)*}(u), by Moreau's identity."""
        return u - self.project(u, weight)


DESCRIPTION: Mapping[str, str] = {
    "prox": "a prox",
    "grad": "a gradient",
    "value": "a value",
    "analysis": "an analysis operator K with g = h∘K",
    "split": "a split into terms",
    "shrinkage": "a prox of h where g = h∘K",
    "quadratic": "a quadratic form ½‖A· − y‖²",
    "prox_conj": "a prox of the conjugate",
    "counts": "a likelihood of counts, with ∇d = 1 − y/(v + b)",
}


def lacks(owner: object, what: str) -> str:
    """The beginning of the message that something is not there."""
    return (
        f"{type(owner).__name__} has no {DESCRIPTION[what].removeprefix('a ').removeprefix('an ')}."
    )


def expect_weight(owner: Prior, weight: Scalar) -> None:
    """Refuse a negative number or NaN as a weight; checking tensors would synchronize."""
    if not isinstance(weight, Tensor) and not weight >= 0:
        raise ConfigError(
            f"{type(owner).__name__}.prox: weight = {weight}: must be zero or positive."
        )
