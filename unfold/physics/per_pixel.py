"""Operators whose A*A only weighs the pixels."""

from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement, PerImage, Scalar


class PerPixel(Operator):
    """A with A*A = diag(w): each pixel is seen with a power of its own, and by itself."""

    @property
    @abstractmethod
    def power(self) -> Tensor:
        """w ≥ 0, (B or 1, 1 or C, H, W)."""

    def normal(self, x: Image) -> Image:
        """w · x."""
        return self.power * x

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """b / (1 + γw)."""
        return b / (1 + gamma * self.power)

    @cached_property
    def norm_squared(self) -> PerImage:
        """The largest w of each sample, and no less where the transforms round up."""
        largest = self.power.detach().flatten(1).amax(1)
        return largest * (1 + 100 * torch.finfo(largest.dtype).eps)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*y / w, and 0 where nothing is seen."""
        seen = self.power != 0
        return torch.where(seen, self.adjoint(y) / torch.where(seen, self.power, 1), 0)
