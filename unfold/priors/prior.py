"""Priors: the regulariser g, explicit or implicit."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from unfold.errors import ConfigError
from unfold.recipe import Recipe
from unfold.typing import Field, Image, PerImage, Scalar


@dataclass(frozen=True)
class Prior(Recipe, ABC):
    """g, or what stands in its place.

    A subclass says what it provides and writes those methods. An analysis prior g = h∘K also gives
    K, its adjoint and the projection that is the prox of (wh)*.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    """What algorithms may ask for: `prox`, `grad`, `value`, `analysis`."""

    uses_lambda: ClassVar[bool] = True
    """Whether the weight λ reaches the result; it does not where a network replaces the prox."""

    analysis_norm_squared: ClassVar[float] = 1.0
    """‖K‖² of an analysis prior, or a tight upper bound."""

    def prox(self, v: Image, weight: Scalar) -> Image:
        """argmin_x w g(x) + ½‖x − v‖², w = `weight`."""
        raise ConfigError(lacks(self, "prox"))

    def grad(self, x: Image) -> Image:
        """∇g(x)."""
        raise ConfigError(lacks(self, "grad"))

    def value(self, x: Image) -> PerImage:
        """g(x) of each image."""
        raise ConfigError(lacks(self, "value"))

    def for_equilibrium(self) -> "Prior":
        """The form of this prior for a DEQ: a convex prox is firmly nonexpansive as it is."""
        return self

    def analyse(self, x: Image) -> Field:
        """Kx."""
        raise ConfigError(lacks(self, "analysis"))

    def analyse_adjoint(self, u: Field) -> Image:
        """K*u."""
        raise ConfigError(lacks(self, "analysis"))

    def project(self, u: Field, weight: Scalar) -> Field:
        """The prox of (wh)*: the projection onto the dual ball of radius w."""
        raise ConfigError(lacks(self, "analysis"))


DESCRIPTION: Mapping[str, str] = {
    "prox": "a prox",
    "grad": "a gradient",
    "value": "a value",
    "analysis": "an analysis operator K with g = h∘K",
    "prox_conj": "a prox of the conjugate",
}


def lacks(owner: object, what: str) -> str:
    """The beginning of the message that something is not there."""
    return (
        f"{type(owner).__name__} has no {DESCRIPTION[what].removeprefix('a ').removeprefix('an ')}."
    )
