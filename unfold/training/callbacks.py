"""What a training shows on the way: the norm of its gradient, and pictures."""

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image as PillowImage
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from unfold.data.batches import Batch
from unfold.disk import write_bytes
from unfold.training.checkpoints.states import TrainingStates
from unfold.training.loggers.tracked import Tracked
from unfold.training.module import Training


class GradientNorm(pl.Callback):
    """Logs ‖∇L‖ over everything that is learned, before it is clipped.

    Args:
        every: steps between two rows of the log.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log it with the row that this step writes."""
        if (trainer.global_step + 1) % self.every == 0:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            pl_module.log("train/gradient_norm", get_total_norm(gradients))


class Pictures(pl.Callback):
    """Shows the first validation image beside its reconstruction, after some validations.

    Pictures are PNG files named by the step, and appear in the tracker of experiments too.

    Args:
        every: epochs between two pictures.
        folder: of the files.
    """

    def __init__(self, every: int, folder: Path) -> None:
        self.every, self.folder = every, folder

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Truth, reconstruction and five times their absolute difference, from left to right."""
        due = (trainer.current_epoch + 1) % self.every == 0
        training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if batch_idx or not due or not training or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Training)
        first = Batch(batch.images[:1], batch.index[:1], batch.epoch)
        image = pl_module.compare(first, "validation")[0].image[0].clamp(0, 1)
        truth = first.images[0]
        panels = torch.cat([truth, image, 5 * (image - truth).abs()], -1)
        self._show(trainer, panels.clamp(0, 1).float().cpu())

    def _show(self, trainer: pl.Trainer, picture: Tensor) -> None:
        step = trainer.global_step
        path = self.folder / f"{step:07d}.png"
        save_picture(picture, path)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("validation", picture, step)
            elif isinstance(logger, Tracked):
                logger.show(path, step - 1)  # with the row of this validation: rows count from 0


def save_picture(picture: Tensor, path: Path) -> None:
    """Write a (C, H, W) picture in [0, 1], grey or in colour, as PNG."""
    levels = (picture * 255).round().to(torch.uint8)
    array = levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)
    content = io.BytesIO()
    PillowImage.fromarray(array.numpy()).save(content, format="PNG")
    write_bytes(path, content.getvalue())


class EarlyStopping(pl.Callback):
    """Ends the training after some validations in a row that are no better than the best before.

    Args:
        patience: how many validations.
        states: knows the objective, and what is better.
    """

    def __init__(self, patience: int, states: TrainingStates) -> None:
        self.patience, self._states = patience, states
        self._best: float | None = None
        self._waited = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count, and ask for the end where patience is over."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        score = float(trainer.callback_metrics[self._states.objective])
        if self._states.improves(score, self._best) and score != self._best:
            self._best, self._waited = score, 0
        else:
            self._waited += 1
        self._ask(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that had ended ends at once where it is continued."""
        self._ask(trainer)

    def _ask(self, trainer: pl.Trainer) -> None:
        if self._waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._waited = state_dict["best"], state_dict["waited"]


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
