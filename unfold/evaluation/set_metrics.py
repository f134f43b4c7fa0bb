"""Metrics of a set of images, which no mean of metrics of single images gives."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from unfold.typing import Image


class SetNMSE(Metric):
    """10 log₁₀(Σ ‖x̂ − x‖² / Σ ‖x‖²) in dB, the sums over all images.

    It is not the mean of the ratios of single images, which others report under this name.

    Source: Chen, Liu, Wang and Yin, Theoretical linear convergence of unfolded ISTA and its
    practical weights and thresholds, NeurIPS 2018, section 4.
    """

    full_state_update = False
    error: Tensor
    energy: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("error", "energy"):
            zero = torch.zeros((), dtype=torch.float64)
            self.add_state(name, default=zero, dist_reduce_fx="sum")

    def update(self, x: Image, truth: Image) -> None:
        """Add the images of a batch."""
        self.error = self.error + (x - truth).abs().double().square().sum()
        self.energy = self.energy + truth.abs().double().square().sum()

    def compute(self) -> Tensor:
        """The ratio of the sums."""
        return 10 * torch.log10(self.error / self.energy)


SET_MEASURES = {"set_nmse_db": SetNMSE}
