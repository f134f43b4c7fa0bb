"""Checkpoints: a training that is killed at any moment resumes bit-identically."""

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from unfold.disk import DiskFullError
from unfold.errors import CheckpointError, RunError
from unfold.training.checkpoints.checksum import LAST, PREVIOUS
from unfold.training.checkpoints.signals import StopRequest, preempted
from unfold.training.checkpoints.weights import AGAIN, best_state, read_checkpoint, write_checkpoint
from unfold.training.loggers.local import Curves, Events


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints with a checksum atomically, and keeps the previous one.

    Lightning's own writer goes through the temporary folder, which on another file system makes
    the last step a copy that a kill can cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        write_checkpoint(checkpoint, Path(path), keep=Path(path).with_name(PREVIOUS))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        state = read_checkpoint(Path(path))
        if "loops" not in state:
            raise CheckpointError(f"{path}: holds weights, and no state of a training. {AGAIN}")
        return state


BEST = "best.ckpt"

LIMIT = 3
"""Failed writes in a row, for lack of disk space, that end the training."""


class Checkpointing(pl.Callback):
    """Saves a checkpoint every few steps, and the best weights after validations.

    A checkpoint is saved just before a batch, when the batch before it, with its row of the log
    and its validation, is complete. What follows is a function of the checkpoint, so an
    interrupted run ends bit-identical to an uninterrupted one.

    Where the disk is full, earlier checkpoints are kept, the training continues and tries again
    when the next one is due; `LIMIT` failures in a row, or one at the end, are an error.

    Args:
        every: optimizer steps between two checkpoints.
        objective: the validation metric that selects the best weights.
    """

    def __init__(self, folder: Path, every: int, objective: str, mode: str) -> None:
        self.folder, self.every, self.objective, self.mode = folder, every, objective, mode
        self.best: float | None = None
        self._saved_at = -1
        self._ended = False
        self._failed = 0
        self._best_unwritten: dict[str, Any] | None = None
        self._request = StopRequest()

    @property
    def best_path(self) -> Path:
        return self.folder / BEST

    def improves(self, score: float, best: float | None) -> bool:
        """Whether a score is at least as good as the best; one that is not finite never is."""
        if best is None or not math.isfinite(score):
            return math.isfinite(score)
        return score >= best if self.mode == "max" else score <= best

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discard rows of the log after the checkpoint: they are computed again."""
        self._request.listen()
        self._saved_at = trainer.global_step
        self._ended = False
        loop = trainer.fit_loop.epoch_loop
        if loop.restarting and loop.batch_progress.current.completed == 0:
            # Lightning mistakes a state before the first batch of an epoch for one after the last.
            loop.restarting = False
        for logger in trainer.loggers:
            if isinstance(logger, Curves | Events):
                logger.cut(trainer.global_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save when a checkpoint is due, or when a signal asks the run to end."""
        stops = self._stops(trainer)
        if batch_idx % trainer.accumulate_grad_batches:
            return  # checkpoints hold no partially accumulated gradients
        step = trainer.global_step
        # Lightning counts one more where it resumes after a validation within an epoch.
        trainer.fit_loop.epoch_loop._batches_that_stepped = step
        if stops or (step % self.every == 0 and step != self._saved_at):
            self._save(trainer, must=stops)
        if stops:
            raise preempted(self._request.number or 15, f"after step {step}, which is saved")

    def _stops(self, trainer: pl.Trainer) -> bool:
        asked = self._request.number is not None
        if trainer.world_size == 1:
            return asked
        return bool(trainer.strategy.reduce_boolean_decision(asked, all=False))

    def _save(self, trainer: pl.Trainer, *, must: bool) -> None:
        """Save a checkpoint, on all ranks; `must` is whether there is no later attempt."""
        self._saved_at = trainer.global_step
        reason = _disk_full(trainer, lambda: self._write_pending(trainer))
        reason = reason or _disk_full(trainer, lambda: self._write_checkpoint(trainer))
        if reason is None:
            self._failed = 0
            return
        self._failed += 1
        if must or self._failed == LIMIT:
            raise DiskFullError(reason)
        warnings.warn(
            f"{reason} The training continues, and tries again in {self.every} steps; "
            f"{LIMIT} failures in a row end it.",
            stacklevel=2,
        )

    def _write_checkpoint(self, trainer: pl.Trainer) -> None:
        try:
            trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        except DiskFullError:
            trainer.strategy.barrier()  # where Lightning makes the other processes wait
            raise

    def _write_pending(self, trainer: pl.Trainer) -> None:
        """The best weights and the rows of the log that precede a checkpoint."""
        if trainer.is_global_zero and self._best_unwritten is not None:
            write_checkpoint(self._best_unwritten, self.best_path)
            self._best_unwritten = None
        for logger in trainer.loggers:
            if isinstance(logger, Curves | Events):
                logger.flush()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        course = getattr(pl_module, "course", None)
        if course and not course.is_last:
            return  # a score of fewer iterations, or of the network alone
        score = float(trainer.callback_metrics[self.objective])
        if not self.improves(score, self.best):
            return
        self.best = score
        reconstructor = pl_module.reconstructor
        assert isinstance(reconstructor, torch.nn.Module)
        state = best_state(reconstructor)
        if not trainer.is_global_zero:
            return
        self._best_unwritten = None
        try:
            write_checkpoint(state, self.best_path)
        except DiskFullError:
            self._best_unwritten = copy.deepcopy(state)  # until the next checkpoint

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, so that a run interrupted in its evaluation does not train again."""
        self._ended = True
        self._save(trainer, must=True)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Do not count the batch that is fetched but not started: it is fetched again."""
        checkpoint[CURVES] = _curves(trainer, trainer.global_step)
        if self._ended:
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counters in (progress["total"], progress["current"]):
            counters["ready"] = counters["completed"]
        progress["is_last_batch"] = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the best weights, which are read now rather than when training ends."""
        self.best = state_dict["best"]
        if self.best is not None:
            state = read_checkpoint(self.best_path)
            if "loops" in state:
                text = "holds the state of a training, and not the best weights."
                raise CheckpointError(f"{self.best_path}: {text} {AGAIN}")

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse curves that are not those before the checkpoint."""
        if (saved := checkpoint.get(CURVES)) is None:
            text = "does not say which curves precede it."
            raise CheckpointError(f"{self.folder / LAST}: {text} {AGAIN}")
        if saved and (now := _curves(trainer, checkpoint["global_step"])) and now != saved:
            where = self.folder.parent / "metrics.csv"
            raise RunError(f"{where}: was changed, or is of another run. {AGAIN}")


CURVES = "curves"


def _curves(trainer: pl.Trainer, step: int) -> list[str]:
    return [log.digest(step) for log in trainer.loggers if isinstance(log, Curves)]


def _disk_full(trainer: pl.Trainer, write: Callable[[], None]) -> str | None:
    """Write on rank zero; the reason where the disk is full, broadcast to all ranks, or None."""
    reason = None
    try:
        write()
    except DiskFullError as error:
        reason = str(error)
    shared: str | None = trainer.strategy.broadcast(reason)
    return shared
