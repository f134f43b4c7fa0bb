"""A mixture of laws: every image is measured through one of several families."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, listing
from unfold.physics.grouped import Grouped, same_shapes
from unfold.physics.law import Measured, Physics
from unfold.physics.level import Level
from unfold.physics.noise import Noise
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True)
class OwnNoise(Noise):
    """The noise of a mixture whose families keep their own."""

    def apply(self, clean: Measurement, draws: Draws) -> Measurement:
        raise ConfigError("OwnNoise belongs to a mixture, whose families have noises of their own.")

    def with_level(self, level: Level) -> "OwnNoise":
        raise ConfigError(f"OwnNoise has no level to set to {level}: each family has its own.")


@dataclass(frozen=True)
class Mixture(Physics):
    """k(i) ~ weights, then image i is measured through a draw of family k(i).

    The family of an image depends on the image, the epoch and the seed alone. All measurements of a
    batch are one tensor: families whose measurements differ in shape, or of which some are complex,
    are refused.

    Args:
        noise: of all families, in place of their own; `OwnNoise` leaves each its own.
        families: the laws by name, at least one.
        weights: how often each is drawn, by the same names; positive, of any sum. Equal if None.

    Raises:
        ConfigError: there is no family, a weight is missing or not positive, or a family observes
            less than Ax.
    """

    families: Mapping[str, Physics]
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.families:
            raise ConfigError("Mixture.families = {}: at least one law is needed.")
        for name, law in self.families.items():
            if type(law).observe is not Physics.observe:
                raise ConfigError(
                    f"Mixture.families.{name}: {type(law).__name__} observes less than Ax, so that "
                    "its measurements need a fidelity of their own; leave it out."
                )
        if self.weights is not None:
            self._check_weights()

    def _check_weights(self) -> None:
        for name, weight in expect_names("Mixture.weights", self.weights, self.families).items():
            if not 0 < weight < float("inf"):
                raise ConfigError(f"Mixture.weights.{name} = {weight}: must be positive.")

    @property
    def is_fixed(self) -> bool:
        """Only with a single family, which is."""
        return len(self.families) == 1 and next(iter(self.families.values())).is_fixed

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """That of any family."""
        return next(iter(self.families.values())).image_shape(measurement_shape)

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        """The operators of the families, each of its images.

        Raises:
            ShapeError: the measurements of the families differ in shape or kind.
        """
        one = draws.take([0])
        same_shapes({name: law.sample(one, shape) for name, law in self.families.items()})
        groups = self._groups(draws)
        if self.is_fixed:
            return next(iter(self.families.values())).sample(draws, shape)
        operators = tuple(
            self.families[name].sample(draws.take(places).within(name), shape)
            for name, places in groups.items()
        )
        family = {i: k for k, places in enumerate(groups.values()) for i in places}
        return Grouped(operators, tuple(family[i] for i in range(len(draws))))

    def measure(self, x: Image, draws: Draws) -> Measured:
        """Draw the operators and measure the images, each with the noise of its family."""
        draws = draws.like(x)
        operator = self.sample(draws.within("operator"), tuple(x.shape[1:]))
        clean, parts = operator.A(x), []
        groups = self._groups(draws.within("operator"))
        for name, places in groups.items():
            law, own = self.families[name], draws.take(places).within("noise").within(name)
            noise = law.noise if isinstance(self.noise, OwnNoise) else self.noise
            parts.append(noise.apply(clean[places], own))
        order = torch.tensor([i for places in groups.values() for i in places]).argsort()
        return Measured(torch.cat(parts)[order.to(x.device)], operator)

    def chances(self, draws: Draws) -> np.ndarray:
        """How likely each family is, in their order; of sum 1."""
        return shares(self.weights, self.families)

    def _groups(self, draws: Draws) -> dict[str, list[int]]:
        """The places of the images of each family; families without images are left out."""
        names = list(self.families)
        edges = np.cumsum(self.chances(draws))
        chance: Tensor = replace(draws, dtype=torch.float64, device="cpu").uniform("family", ())
        drawn = np.minimum(np.searchsorted(edges, chance.numpy(), side="right"), len(names) - 1)
        found = {name: np.flatnonzero(drawn == k).tolist() for k, name in enumerate(names)}
        return {name: places for name, places in found.items() if places}


def shares(weights: Mapping[str, float] | None, families: Mapping[str, Physics]) -> np.ndarray:
    """The weights in the order of the families, of sum 1; equal ones for None."""
    values = np.array([1.0 if weights is None else weights[name] for name in families])
    return np.asarray(values / values.sum())


def expect_names(
    key: str, weights: Mapping[str, float] | None, families: Mapping[str, Physics]
) -> Mapping[str, float]:
    """The weights, if every family has its own.

    Raises:
        ConfigError: with the names of both.
    """
    if weights is None or set(weights) != set(families):
        raise ConfigError(
            f"{key} is given for {listing(weights or ())}; the families are "
            f"{listing(families)}: give each its weight."
        )
    return weights
