"""Measurement splitting: some entries are predicted from the others."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unfold.models.model import Solution
from unfold.parameters.bounds import bounded, inside
from unfold.physics.wrapped import Wrapped
from unfold.training.losses.base import Loss, Loss0, Trial
from unfold.typing import Field, Measurement, PerImage


@dataclass(frozen=True, eq=False)
class MaskedMeasurement(Wrapped):
    """Ax = m · Bx: B with a mask on its measurement.

    Args:
        operator: B.
        kept: m, 1 where an entry is used and 0 elsewhere, (B, …) as a measurement.
    """

    kept: Tensor

    @property
    def anchor(self) -> Tensor:
        """m, for the device and dtype where B has no tensors."""
        return self.kept

    @property
    def batch(self) -> int:
        return len(self.kept)

    @cached_property
    def norm_bound(self) -> PerImage:
        """That of B, as ‖mB‖ ≤ ‖B‖; m changes with every batch, and the bound of B is cached."""
        return self.operator.norm_bound.to(self.kept.device).expand(self.batch)

    def post(self, v: Field) -> Measurement:
        return self.kept * v

    def post_adjoint(self, y: Measurement) -> Field:
        return self.kept * y


@dataclass(frozen=True)
class Splitting(Loss):
    """mean of |Ax̂(m · y) − y|² where m = 0, m keeping every entry of y with some probability.

    x̂(m · y) is reconstructed from the entries that are kept, with m · A; it predicts the others,
    whose noise is independent. Validation uses the full measurement. In a mixture of different
    measurements padding has no weight, and an entry weighs inversely to the number of measured
    entries of its image.

    Args:
        keep: the probability, in (0, 1).

    Raises:
        ConfigError: the probability is out of its range.

    Source: Yaman et al., Self-supervised learning of physics-guided reconstruction neural networks
    without fully sampled reference data, Magnetic Resonance in Medicine 84 (2020), equation 6, of
    which the mask is drawn uniformly here.
    """

    keep: float = bounded(0.8, inside("(0, 1)"), "the share of the measurement that is used")

    def reconstruct(self, trial: Trial) -> Solution:
        kept = self._kept(trial)
        return trial.solve(kept * trial.y, MaskedMeasurement(trial.operator, kept))

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        left = trial.weights * (1 - self._kept(trial))
        error = (trial.observed(solution.image) - trial.y).abs().square()
        return (left * error).sum() / left.sum().clamp(min=1)

    def _kept(self, trial: Trial) -> Tensor:
        chance = trial.own.uniform("split", trial.y.shape[1:])
        return (chance < self.keep).to(chance.dtype)
