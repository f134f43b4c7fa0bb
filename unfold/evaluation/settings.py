"""What is measured at the end of a run: `evaluation`."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unfold.errors import ConfigError
from unfold.evaluation.mismatch import Mismatch
from unfold.physics.base import Physics


class Evaluation(ABC):  # noqa: B024 - what to measure is data; the pipeline does the measuring
    """What is measured at the end of a run."""


@dataclass(frozen=True)
class NoEvaluation(Evaluation):
    """Nothing."""


@dataclass(frozen=True)
class TunedTV:
    """Classical total variation, its weight tuned per operator and noise on validation images.

    Args:
        low: the smallest weight tried.
        high: the largest.
        count: how many are tried, spaced evenly in the logarithm.
        images: validation images at most that a weight is judged on, spread over their order.
        crop: side of the centre that is used of each of them, in pixels.
        tol: relative duality gap at which an image of the test set is done.
        max_iterations: steps at most for the test images.
        search_tol: relative duality gap at which a weight is judged.
        search_iterations: steps at most for a weight that is judged.
    """

    low: float = 1e-3
    high: float = 1e-1
    count: int = 12
    images: int = 4
    crop: int = 128
    tol: float = 1e-4
    max_iterations: int = 3000
    search_tol: float = 1e-3
    search_iterations: int = 400

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ConfigError(f"low = {self.low}: must be positive and below high = {self.high}.")
        if self.count < 2:
            raise ConfigError(f"count = {self.count}: must be at least 2.")
        for name in ("images", "crop"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 1.")

    @property
    def weights(self) -> list[float]:
        """The weights tried, in increasing order."""
        return [float(w) for w in np.geomspace(self.low, self.high, self.count)]


@dataclass(frozen=True)
class AcrossOperators(Evaluation):
    """Every operator at every noise level, beside the operator trained on at its own.

    Args:
        operators: by name; the names are the columns of the matrix.
        noise_levels: given to the noise of each operator.
        tv: the baseline that is tuned.
        iterations: further iteration counts of a tied unfolded network.
        gallery: how many images are shown of the operator trained on.
    """

    operators: Mapping[str, Physics]
    noise_levels: tuple[float, ...] = (0.02, 0.05)
    tv: TunedTV = TunedTV()
    iterations: tuple[int, ...] = ()
    gallery: int = 2

    def __post_init__(self) -> None:
        for level in self.noise_levels:
            if level < 0:
                raise ConfigError(f"noise_levels = {self.noise_levels}: must be zero or positive.")
        for count in self.iterations:
            if count < 1:
                raise ConfigError(f"iterations = {self.iterations}: must be at least 1 each.")
        if self.gallery < 0:
            raise ConfigError(f"gallery = {self.gallery}: must be zero or positive.")


@dataclass(frozen=True)
class Robustness(Evaluation):
    """The operator trained on, while the reconstruction is told another one, or other noise.

    Args:
        mismatches: by name; those that have nothing to act on are left out, and the table says so.

    Raises:
        ConfigError: there is none.
    """

    mismatches: Mapping[str, Mismatch]

    def __post_init__(self) -> None:
        if not self.mismatches:
            raise ConfigError("mismatches = {}: name at least one, or choose evaluation=none.")
