"""Learning from measurements alone: one part is predicted from the other."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unfold.errors import ConfigError
from unfold.models.model import Solution
from unfold.physics.wrapped import Wrapped
from unfold.training.losses.base import Loss, Loss0, Trial
from unfold.typing import Field, Measurement, PerImage


@dataclass(frozen=True, eq=False)
class Rows(Wrapped):
    """Ax = m · Bx: B, of which only some entries of the measurement are known.

    Args:
        operator: B.
        kept: m, 1 where an entry is known and 0 where not, (B, …) as a measurement.
    """

    kept: Tensor

    @property
    def anchor(self) -> Tensor:
        """m, which is of the measurement where B holds nothing."""
        return self.kept

    @property
    def batch(self) -> int:
        return len(self.kept)

    @cached_property
    def norm_bound(self) -> PerImage:
        """That of B, as ‖mB‖ ≤ ‖B‖: m is new in every batch, and B's is soon found or kept."""
        return self.operator.norm_bound.to(self.kept.device).expand(self.batch)

    def post(self, v: Field) -> Measurement:
        return self.kept * v

    def post_adjoint(self, y: Measurement) -> Field:
        return self.kept * y


@dataclass(frozen=True)
class Splitting(Loss):
    """mean of |Ax̂(m · y) − y|² where m = 0, m keeping every entry of y with some probability.

    x̂(m · y) is reconstructed from the entries that are kept, through m · A; what was left out is
    predicted, whose noise is independent of it. In validation the whole measurement is used. In a
    mixture of different measurements the zeros that fill rows up count for nothing, and an entry
    weighs inversely to how many its image is measured by.

    Args:
        keep: the probability, in (0, 1).

    Raises:
        ConfigError: the probability is out of its range.

    Source: Yaman et al., Self-supervised learning of physics-guided reconstruction neural networks
    without fully sampled reference data, Magnetic Resonance in Medicine 84 (2020), equation 6, of
    which the mask is drawn uniformly here.
    """

    keep: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise ConfigError(
                f"Splitting.keep = {self.keep}: must be in (0, 1), the share of the measurement "
                "that the reconstruction sees."
            )

    def reconstruct(self, trial: Trial) -> Solution:
        kept = self._kept(trial)
        return trial.solve(kept * trial.y, Rows(trial.operator, kept))

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        left = trial.weights * (1 - self._kept(trial))
        error = (trial.observed(solution.image) - trial.y).abs().square()
        return (left * error).sum() / left.sum().clamp(min=1)

    def _kept(self, trial: Trial) -> Tensor:
        chance = trial.own.uniform("split", trial.y.shape[1:])
        return (chance < self.keep).to(chance.dtype)
