"""A mixture: every image is measured through one of several families."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, listing
from unfold.parameters.bounds import bounded, whole
from unfold.physics.base import Physics, expect_linear_observation
from unfold.physics.batch import Grouped, Packed, packed, packing, unpacked
from unfold.physics.levels import Level
from unfold.physics.noise.base import Moments, Noise
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Field, Image, Measurement, Shape


@dataclass(frozen=True)
class PerFamilyNoise(Noise):
    """The noise of a mixture whose families keep their own."""

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        raise ConfigError("PerFamilyNoise is for a mixture, whose families have noises.")

    def with_level(self, level: Level) -> "PerFamilyNoise":
        raise ConfigError(f"PerFamilyNoise has no level to set to {level}: each family has one.")


@dataclass(frozen=True)
class Mixture(Physics):
    """k(i) ~ weights, then image i is measured through an operator sampled from family k(i).

    The family of an image depends only on the image, the epoch and the seed. All measurements of a
    batch are one tensor: where families differ in its shape, or some are complex, every measurement
    is a row of numbers, padded with zeros to the length of the longest.

    Args:
        noise: of all families, instead of theirs; `PerFamilyNoise` keeps that of each family.
        families: the forward models by name, at least one.
        weights: how often each is chosen, by the same names; positive, of any sum. Equal if None.
    """

    families: Mapping[str, Physics]
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.families:
            raise ConfigError("Mixture.families = {}: at least one physics is needed.")
        for name, physics in self.families.items():
            expect_linear_observation(f"Mixture.families.{name}", physics)
        if self.weights is not None:
            self.expect_weights("weights", self.weights)

    def expect_weights(self, key: str, weights: Mapping[str, float]) -> None:
        """Raise a `ConfigError` unless every family has its weight, and a positive one."""
        self.expect_names(key, weights)
        for name, weight in weights.items():
            if not 0 < weight < float("inf"):
                raise ConfigError(f"Mixture.{key}.{name} = {weight}: must be positive.")

    def expect_names(self, key: str, weights: Mapping[str, float] | None) -> None:
        """Raise a `ConfigError`, with the names of both, unless every family has its weight."""
        if set(weights or ()) != set(self.families):
            raise ConfigError(
                f"{type(self).__name__}.{key} is given for {listing(weights or ())}; the families "
                f"are {listing(self.families)}: give each its weight."
            )

    @property
    def photographic(self) -> bool:
        return all(family.photographic for family in self.families.values())

    @property
    def is_deterministic(self) -> bool:
        return len(self.families) == 1 and next(iter(self.families.values())).is_deterministic

    def image_shape(self, measurement_shape: Shape) -> Shape:
        if len(self.families) > 1 and len(measurement_shape) == 1:
            raise ConfigError(
                f"Mixture: a row of {measurement_shape[0]} numbers does not tell the shape of the "
                "image; reconstruct through Python, with the operator."
            )
        return next(iter(self.families.values())).image_shape(measurement_shape)

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        if self.is_deterministic:
            return next(iter(self.families.values())).sample(draws, shape)
        one, groups = draws.take([0]), self._groups(draws)
        # Of all families: the length of a row must not depend on those that this batch has.
        pack = packing({name: family.sample(one, shape) for name, family in self.families.items()})
        operators = tuple(
            pack(self.families[name].sample(draws.take(places).within(name), shape))
            for name, places in groups.items()
        )
        family = {i: k for k, places in enumerate(groups.values()) for i in places}
        return Grouped(operators, tuple(family[i] for i in range(len(draws))), tuple(groups))

    def observed(self, x: Image, operator: Operator, draws: Draws) -> Measurement:
        return self._each(operator, draws, operator.A(x), lambda n, v, own: n.apply(v, own))

    @property
    def has_fixed_level(self) -> bool:
        if isinstance(self.noise, PerFamilyNoise):
            return all(family.has_fixed_level for family in self.families.values())
        return super().has_fixed_level

    @property
    def supports_sure(self) -> bool:
        if isinstance(self.noise, PerFamilyNoise):
            return all(family.supports_sure for family in self.families.values())
        return self.noise.supports_sure

    def moments(
        self, clean: Measurement, operator: Operator, draws: Draws, *, measured: bool = False
    ) -> Moments | None:
        found: list[Moments] = []

        def mean(noise: Noise, v: Field, own: Draws) -> Field:
            moments = (noise.measured_moments if measured else noise.moments)(v, own)
            found.extend(() if moments is None else (moments,))
            return v if moments is None else moments.mean.expand(v.shape)

        means = self._each(operator, draws, clean, mean)
        if len(found) < len(operator.operators if isinstance(operator, Grouped) else (operator,)):
            return None
        of_family = iter(found)
        variances = self._each(
            operator, draws, clean, lambda _, v, __: next(of_family).variance.expand(v.shape)
        )
        return Moments(means, variances.real)

    def probe(self, y: Measurement, operator: Operator, draws: Draws) -> Measurement:
        """Of each measurement those of its family: real ones stay real among complex ones."""
        if not isinstance(operator, Grouped):
            return super().probe(y, operator, draws)

        def own(through: Operator, part: Measurement, at: Tensor) -> Measurement:
            v = unpacked(through, part)
            mine = draws.take(at.tolist())
            return packed(through, super(Mixture, self).probe(v, through, mine))

        return operator.each(y, own)

    def _each(
        self,
        operator: Operator,
        draws: Draws,
        y: Measurement,
        method: Callable[[Noise, Field, Draws], Field],
    ) -> Measurement:
        """Apply a method of the noise of each family to its measurements, with their draws."""
        if not isinstance(operator, Grouped):
            operator = Grouped((operator,), (0,) * len(draws), tuple(self.families))
        names = operator.names or tuple(self._groups(draws.within("operator")))
        groups = zip(names, operator.places, strict=False)

        def own(through: Operator, part: Measurement, _: Tensor) -> Measurement:
            name, places = next(groups)
            each = isinstance(self.noise, PerFamilyNoise)
            noise = self.families[name].noise if each else self.noise
            noise = noise.measured_by(through.operator if isinstance(through, Packed) else through)
            numbers = draws.take(places.tolist()).within("noise").within(name)
            return packed(through, method(noise, unpacked(through, part), numbers))

        return operator.each(y, own)

    def chances(self, draws: Draws) -> np.ndarray:
        """How likely each family is, in their order; of sum 1."""
        return self.shares(self.weights)

    def shares(self, weights: Mapping[str, float] | None) -> np.ndarray:
        """The weights in the order of the families, of sum 1; equal ones for None."""
        values = np.array([1.0 if weights is None else weights[name] for name in self.families])
        return np.asarray(values / values.sum())

    def _groups(self, draws: Draws) -> dict[str, list[int]]:
        """The places of the images of each family; families without images are omitted."""
        names = list(self.families)
        edges = np.cumsum(self.chances(draws))
        chance: Tensor = replace(draws, dtype=torch.float64, device="cpu").uniform("family", ())
        chosen = np.minimum(np.searchsorted(edges, chance.numpy(), side="right"), len(names) - 1)
        found = {name: np.flatnonzero(chosen == k).tolist() for k, name in enumerate(names)}
        return {name: places for name, places in found.items() if places}


@dataclass(frozen=True, kw_only=True)
class Curriculum(Mixture):
    """k(i) ~ (1 − t) weights + t later, t = min(1, epoch / epochs), both of sum 1.

    Validation and test take `later` from the start, so that their scores can be compared.

    Args:
        weights: how often each is chosen in the first epoch, by the same names; zero or positive,
            of any sum. Equal if None.
        later: how often each is chosen in the end.
        epochs: passes over the data until then, at least 1.
    """

    later: Mapping[str, float]
    epochs: int = bounded(accepted=whole(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_weights("later", self.later)

    def expect_weights(self, key: str, weights: Mapping[str, float]) -> None:
        """Raise a `ConfigError` unless every family has its weight, and some are positive."""
        self.expect_names(key, weights)
        values = weights.values()
        if not all(0 <= weight < float("inf") for weight in values) or not any(values):
            raise ConfigError(
                f"Curriculum.{key} = {dict(weights)}: must be zero or positive, and not all 0."
            )

    def chances(self, draws: Draws) -> np.ndarray:
        """Those of the epoch in training, the last ones elsewhere."""
        part = min(1.0, draws.epoch / self.epochs) if draws.split == "train" else 1.0
        return np.asarray((1 - part) * self.shares(self.weights) + part * self.shares(self.later))
