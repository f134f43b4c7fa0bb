"""Callbacks: gradient norm, validation pictures, early stopping, averaged weights, progress bar."""

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from unfold.data.example import Batch
from unfold.disk import write_bytes
from unfold.evaluation.metrics import magnitude
from unfold.training.loggers.trackers import Tracked
from unfold.training.module import Training


class GradientNorm(pl.Callback):
    """Logs ‖∇L‖ over all parameters every few steps, before it is clipped."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if (trainer.global_step + 1) % self.every == 0:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            pl_module.log("train/gradient_norm", get_total_norm(gradients))


class ValidationPictures(pl.Callback):
    """Writes the first validation image and its reconstruction, after some validations.

    Pictures are PNG files named by the step, `every` so many epochs, and are sent to the experiment
    tracker too.
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
        first = batch.part(0, 1)
        image = magnitude(pl_module.compare(first, "validation")[0].image[0]).clamp(0, 1)
        panels = image
        if first.images is not None:
            truth = magnitude(first.images[0]).clamp(0, 1)
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


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, after validations; a resumed training that had ended ends at once.

    An infinite value counts as no improvement, and an undefined one, NaN, for nothing; `patience`
    validations without improvement end the training.
    """

    def __init__(self, objective: str, mode: str, patience: int) -> None:
        super().__init__(
            objective,
            patience=patience,
            mode=mode,
            check_finite=False,
            check_on_train_epoch_end=False,
        )

    def _run_early_stopping_check(self, trainer: pl.Trainer) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if score is None or not bool(torch.isnan(score)):
            super()._run_early_stopping_check(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class AveragedWeights(callbacks.WeightAveraging):
    """w̄ ← d·w̄ + (1 − d)·w after every optimizer step, from w̄ = w at the start.

    Lightning's, without buffers. The average is validated, and is in place until the best weights
    are saved in `on_validation_end`. A constraint that holds by reparametrization holds for the
    average too, since the free parameter is averaged.

    Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, SIAM J.
    Control Optim. 30 (1992), with exponential instead of equal weights.

    Args:
        decay: d, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(use_buffers=False, multi_avg_fn=average)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            assert self._average_model is not None
            self._average_model.n_averaged.fill_(1)  # the start counts

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The swap waits for `on_validation_end`, after the best weights are saved."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_models(pl_module)

    def keep(self, pl_module: pl.LightningModule) -> None:
        """Replace the weights by the average, also where no step was left to train."""
        self._copy_average_to_current(pl_module)


class ProgressLines(pl.Callback):
    """One line for each validation, where no progress bar is shown."""

    def __init__(self, objective: str) -> None:
        self.objective = objective

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = trainer.callback_metrics.get(self.objective)
        if score is not None and trainer.is_global_zero and not trainer.sanity_checking:
            trainer.print(f"step {trainer.global_step}: {self.objective} {float(score):.4g}")


class ProgressBar(callbacks.RichProgressBar):
    """Lightning's, without the version and the number of epochs, which mean nothing here."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch}"
