"""Equivariant imaging: the set of images is invariant to shifts, rotations and flips."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unfold.models.model import Solution
from unfold.parameters.bounds import bounded, nonnegative
from unfold.physics.base import Physics
from unfold.random import Draws
from unfold.training.losses.base import Loss, Loss0, Trial
from unfold.training.losses.consistency import Consistency
from unfold.typing import Image


class Transform(ABC):
    """A random transform to which the distribution of images is invariant."""

    @abstractmethod
    def apply(self, x: Image, draws: Draws) -> Image:
        """The images, each with its own random transform."""


@dataclass(frozen=True)
class Shifts(Transform):
    """Cyclic shifts by whole pixels, uniform over all shifts."""

    def apply(self, x: Image, draws: Draws) -> Image:
        sizes = x.shape[-2:]
        places = _integers(draws, "shift", sizes)
        pairs = zip(x, places.tolist(), strict=True)
        return torch.stack([one.roll((down, right), (-2, -1)) for one, (down, right) in pairs])


@dataclass(frozen=True)
class RotationsAndFlips(Transform):
    """Rotations by multiples of 90°, of 180° where the image is not square, and reflections."""

    def apply(self, x: Image, draws: Draws) -> Image:
        quarters = 1 if x.shape[-2] == x.shape[-1] else 2
        pairs = zip(x, _integers(draws, "turn", (4 // quarters, 2)).tolist(), strict=True)
        turned = [(one.rot90(quarters * turns, (-2, -1)), flip) for one, (turns, flip) in pairs]
        return torch.stack([one.flip(-1) if flip else one for one, flip in turned])


@dataclass(frozen=True)
class Equivariant(Loss):
    """c(x̂, y) + α mean |x̂(A T x̂) − T x̂|², T a transform drawn anew for every image and epoch.

    The second term asks that a transformed reconstruction is recovered from its noiseless
    measurement: the network learns the null space of A, where A is not equivariant to T.

    Args:
        weight: α ≥ 0.
        consistency: c, a loss that needs no images; `SURE` where the noise must not be fitted.
        transform: the distribution of T.

    Raises:
        ConfigError: the weight is negative.

    Source: Chen, Tachella and Davies, Equivariant imaging: learning beyond the range space, ICCV
    2021, equation 8; with SURE: Robust equivariant imaging, CVPR 2022, equation 5.
    """

    weight: float = bounded(1.0, nonnegative)
    consistency: Loss = field(default_factory=Consistency)
    transform: Transform = field(default_factory=Shifts)

    def check(self, physics: Physics) -> None:
        self.consistency.check(physics)

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        moved = self.transform.apply(solution.image, trial.own.within("motion"))
        again = trial.solve(trial.observed(moved), trial.operator).image
        found = (again - moved).abs().square().mean()
        return self.consistency.value(solution, trial) + self.weight * found


def _integers(draws: Draws, name: str, sizes: tuple[int, ...]) -> Tensor:
    """(B, 2), each uniform below its size."""
    real = draws.like(torch.empty(0))
    return real.each(name, lambda g, _: np.asarray(g.integers(0, tuple(sizes)))).long()
