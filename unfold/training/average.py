"""An exponential moving average of the weights, which is validated and kept in their place."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn


class AveragedWeights(pl.Callback):
    """w̄ ← d·w̄ + (1 − d)·w after every step of the optimiser, from w̄ = w at the start.

    Only what is learned is averaged. A constraint that holds by reparametrisation holds for the
    average too, since what is averaged is the free parameter behind it.

    Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, SIAM J.
    Control Optim. 30 (1992), with exponential in the place of equal weights.

    Args:
        decay: d, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: dict[str, Tensor] = {}
        self._steps = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, unless a training state brought an average."""
        own = dict(_learned(pl_module))
        for name, weight in own.items():
            brought = self._average.get(name, weight)
            self._average[name] = brought.detach().to(weight.device, copy=True)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Average once for each step, however many batches it takes."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        for name, weight in _learned(pl_module):
            self._average[name].lerp_(weight.detach(), 1 - self.decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        self._exchange(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train on from the weights."""
        self._exchange(trainer, pl_module)

    @torch.no_grad()
    def _exchange(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        for name, weight in _learned(pl_module):
            held = weight.clone()
            weight.copy_(self._average[name])
            self._average[name].copy_(held)

    @torch.no_grad()
    def keep(self, pl_module: pl.LightningModule) -> None:
        """Put the average in the place of the weights, for good."""
        for name, weight in _learned(pl_module):
            weight.copy_(self._average[name])

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._average, self._steps = dict(state_dict["average"]), state_dict["steps"]


def _learned(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]
