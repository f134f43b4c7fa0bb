"""A mixture whose weights move while the network is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unfold.errors import ConfigError
from unfold.physics.mixture import Mixture, expect_names, shares
from unfold.random import Draws


@dataclass(frozen=True, kw_only=True)
class Curriculum(Mixture):
    """k(i) ~ (1 − t) weights + t later, t = min(1, epoch / epochs), both of sum 1.

    The family of an image is a function of the image, the epoch and the seed alone, so that a run
    that is resumed sees what it would have seen. Validation and test take `later` from the start,
    so that their figures can be compared.

    Args:
        noise: of all families, in place of their own; `OwnNoise` leaves each its own.
        families: the laws by name, at least one.
        weights: how often each is drawn in the first epoch, by the same names; zero or positive, of
            any sum. Equal if None.
        later: how often each is drawn in the end.
        epochs: passes over the data until then, at least 1.

    Raises:
        ConfigError: a weight is missing or negative, all are 0, or there is no epoch; and as for
            `Mixture`.
    """

    later: Mapping[str, float]
    epochs: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_end("later", self.later)
        if isinstance(self.epochs, bool) or self.epochs < 1:
            raise ConfigError(f"Curriculum.epochs = {self.epochs}: must be at least 1.")

    def _check_weights(self) -> None:
        self._check_end("weights", self.weights)

    def _check_end(self, key: str, weights: Mapping[str, float] | None) -> None:
        found = expect_names(f"Curriculum.{key}", weights, self.families)
        values = found.values()
        if not all(0 <= weight < float("inf") for weight in values) or not any(values):
            raise ConfigError(
                f"Curriculum.{key} = {dict(found)}: must be zero or positive, and not all 0."
            )

    def chances(self, draws: Draws) -> np.ndarray:
        """Those of the epoch in training, the last ones elsewhere."""
        part = min(1.0, draws.epoch / self.epochs) if draws.split == "train" else 1.0
        first, last = (shares(w, self.families) for w in (self.weights, self.later))
        return np.asarray((1 - part) * first + part * last)
