"""Learning from measurements alone: images stay images when they are moved."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.models.model import Solution
from unfold.physics.base import Physics
from unfold.random import Draws
from unfold.training.losses.base import Loss, Loss0, Trial
from unfold.training.losses.consistency import Consistency
from unfold.typing import Image


class Motion(ABC):
    """Motions after which an image is still a likely image, one drawn for each."""

    @abstractmethod
    def move(self, x: Image, draws: Draws) -> Image:
        """The images, each moved by its own draw."""


@dataclass(frozen=True)
class Shifts(Motion):
    """Cyclic shifts by whole pixels, uniform over all of them."""

    def move(self, x: Image, draws: Draws) -> Image:
        sizes = x.shape[-2:]
        places = _integers(draws, "shift", sizes)
        pairs = zip(x, places.tolist(), strict=True)
        return torch.stack([one.roll((down, right), (-2, -1)) for one, (down, right) in pairs])


@dataclass(frozen=True)
class Turns(Motion):
    """Rotations by quarter turns, by half turns of what is not square, and reflections."""

    def move(self, x: Image, draws: Draws) -> Image:
        quarters = 1 if x.shape[-2] == x.shape[-1] else 2
        pairs = zip(x, _integers(draws, "turn", (4 // quarters, 2)).tolist(), strict=True)
        turned = [(one.rot90(quarters * turns, (-2, -1)), flip) for one, (turns, flip) in pairs]
        return torch.stack([one.flip(-1) if flip else one for one, flip in turned])


@dataclass(frozen=True)
class Equivariant(Loss):
    """c(x̂, y) + α mean |x̂(A T x̂) − T x̂|², T a motion drawn anew for every image and epoch.

    The second term asks that a moved reconstruction, measured again without noise, is found again:
    so the network learns what A alone does not show, where A itself does not move along.

    Args:
        weight: α ≥ 0.
        consistency: c, a loss that needs no images; `SURE` where the noise must not be fitted.
        motion: the law of T.

    Raises:
        ConfigError: the weight is negative.

    Source: Chen, Tachella and Davies, Equivariant imaging: learning beyond the range space, ICCV
    2021, equation 8; with SURE: Robust equivariant imaging, CVPR 2022, equation 5.
    """

    weight: float = 1.0
    consistency: Loss = field(default_factory=Consistency)
    motion: Motion = field(default_factory=Shifts)

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ConfigError(f"Equivariant.weight = {self.weight}: must be zero or positive.")

    def expect(self, physics: Physics) -> None:
        self.consistency.expect(physics)

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        moved = self.motion.move(solution.image, trial.own.within("motion"))
        again = trial.solve(trial.observed(moved), trial.operator).image
        found = (again - moved).abs().square().mean()
        return self.consistency.value(solution, trial) + self.weight * found


def _integers(draws: Draws, name: str, sizes: tuple[int, ...]) -> Tensor:
    """(B, 2), each uniform below its size."""
    whole = draws.like(torch.empty(0))
    return whole.each(name, lambda g, _: np.asarray(g.integers(0, tuple(sizes)))).long()
