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
        chance = draws.uniform("pixels", (1, *shape[1:]))
        keep = draw_level(self.keep, draws, "keep")
        if isinstance(keep, Tensor):
            keep = keep.reshape(-1, 1, 1, 1)
        seen = chance <= torch.clamp(chance.amin((1, 2, 3), keepdim=True), min=keep)
        mask = seen[:1] if self.is_fixed else seen
        return Mask(mask.to(draws.dtype).expand(-1, *shape))
