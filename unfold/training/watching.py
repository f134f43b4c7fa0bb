"""What a training shows on the way: the norm of its gradient, and pictures."""

import io
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image as PillowImage
from torch import Tensor
from torch.optim import Optimizer

from unfold.data.batches import Batch
from unfold.disk import write_bytes
from unfold.training.module import Training
from unfold.training.tracked import Tracked
from unfold.training.whole import gradient_norm


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
            pl_module.log("train/gradient_norm", gradient_norm(pl_module))


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
