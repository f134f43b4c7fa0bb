"""Inpainting: some pixels are missing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.physics.law import Physics
from unfold.physics.level import Level, checked, draw_level
from unfold.physics.mask import Mask
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class Inpainting(Physics):
    """m(u) ~ Bernoulli(keep), independently for every pixel u and image, shared by the channels.

    Args:
        noise: added to the seen pixels, and to the zeros of the missing ones.
        keep: probability that a pixel is seen, in (0, 1]; a number, or a range of which every image
            draws its own value. At least one pixel is always seen.

    Raises:
        ConfigError: keep is not in (0, 1].
    """

    keep: Level = 0.5

    def __post_init__(self) -> None:
        words = "must be in (0, 1], the fraction of pixels that are seen"
        keep = checked("Inpainting.keep", self.keep, lambda k: 0 < k <= 1, words)
        object.__setattr__(self, "keep", keep)

    @property
    def is_fixed(self) -> bool:
        """Only where nothing is missing."""
        return self.keep == 1

    def sample(self, draws: Draws, shape: Shape) -> Mask:
        """(B, C, H, W), the channels being views of one."""
        seen = draw_seen(draws, (1, *shape[1:]), self.keep)
        mask = seen[:1] if self.is_fixed else seen
        return Mask(mask.to(draws.dtype).expand(-1, *shape))


def draw_seen(draws: Draws, shape: Shape, keep: Level) -> Tensor:
    """(B, …): independently true with probability `keep`, and at least once in every sample."""
    chance = draws.uniform("pixels", shape)
    own = draw_level(keep, draws, "keep")
    if isinstance(own, Tensor):
        own = own.reshape(-1, 1, 1, 1)
    least = chance.amin((1, 2, 3), keepdim=True)
    return chance <= torch.clamp(least, min=own)
