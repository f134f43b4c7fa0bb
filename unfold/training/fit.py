"""Fitting: Lightning's trainer around the module, and the best weights at the end."""

import logging
import math
import resource
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import LearningRateMonitor

from unfold.data.batches import Loader
from unfold.data.dataset import Data
from unfold.disk import FULL, DiskFullError
from unfold.errors import NonFiniteError, RunError
from unfold.evaluation.metrics import objective_mode
from unfold.models.deq import DEQ
from unfold.models.unfolded import Checkpoint, Unfolded
from unfold.reconstructor import Reconstructor
from unfold.training.callbacks import (
    AveragedWeights,
    EarlyStopping,
    GradientNorm,
    ProgressBar,
    ProgressLines,
    ValidationPictures,
)
from unfold.training.checkpoints.callback import AtomicCheckpointIO, Checkpointing
from unfold.training.checkpoints.weights import keep_channels_last, load_checkpoint, save_weights
from unfold.training.course import Course
from unfold.training.module import Training
from unfold.training.settings import Log, NoLog, TrainerSettings, refuse_variables


class DataModule(pl.LightningDataModule):
    """The batches of this process; ends the loader workers on teardown."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.data = data
        self._loaders: list[Loader] = []

    def train_dataloader(self) -> Loader:
        trainer = self.trainer
        share = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return self._open(self.data.train_loader(*share, done=self._batches_done))

    def val_dataloader(self) -> Loader:
        return self._open(self.data.evaluation_loader("validation"))

    def _batches_done(self) -> int:
        """Batches of the current epoch that were trained on; not 0 only after a resume."""
        if not (self.trainer and self.trainer.training):
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _open(self, loader: Loader) -> Loader:
        self._loaders.append(loader)
        return loader

    def teardown(self, stage: str) -> None:
        while self._loaders:
            self._loaders.pop().close()


def make_trainer(
    settings: TrainerSettings, batches: int, directory: Path, log: Log, callbacks: list[pl.Callback]
) -> pl.Trainer:
    """A trainer for epochs of so many batches that writes into a run directory."""
    refuse_variables()
    epochs, interval = settings.validation(batches)
    unused = settings.strategy == "ddp" and any(isinstance(one, Course) for one in callbacks)
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        # In a stage of a training, what does not move has no gradient.
        strategy="ddp_find_unused_parameters_true" if unused else settings.strategy,
        precision="64-true" if settings.precision == "64" else "32-true",
        max_steps=settings.max_steps,
        max_epochs=settings.max_epochs,
        gradient_clip_val=settings.gradient_clip,
        accumulate_grad_batches=settings.accumulate,
        check_val_every_n_epoch=epochs,
        val_check_interval=interval,
        log_every_n_steps=settings.log_every,
        enable_progress_bar=settings.progress,
        enable_model_summary=False,
        default_root_dir=directory,
        enable_checkpointing=False,
        logger=log.build(directory) or False,
        callbacks=callbacks,
        # A single process is no rank of the job of a scheduler in which it runs.
        plugins=[
            AtomicCheckpointIO(),
            *([] if settings.processes > 1 else [LightningEnvironment()]),
        ],
        deterministic=True,
    )


def fit(
    training: Training,
    data: Data,
    settings: TrainerSettings,
    log: Log,
    directory: Path,
    *,
    objective: str,
    resume_from: Path | None = None,
) -> dict[str, float]:
    """Train, and leave the best weights in the reconstructor and in the run directory.

    `objective` is the validation metric that selects them, `validation/psnr`, and `resume_from` a
    checkpoint. Returns the best value of the objective, and the number of steps.

    Raises:
        UnfoldError: a signal, the machine or a failed step ended it; checkpoints are kept.
    """
    mode = objective_mode(objective, training.metrics.all_names, training.metrics.extra)
    reconstructor = training.reconstructor
    if settings.wants_channels_last():
        keep_channels_last(reconstructor)
    _quiet()
    folder = directory / "checkpoints"
    checkpointing = Checkpointing(folder, settings.checkpoint_every, objective, mode)
    average = AveragedWeights(settings.ema) if settings.ema is not None else None
    callbacks = [checkpointing, *_callbacks(settings, objective, mode, directory)]
    # Entries that move slower have moved before they are averaged.
    callbacks += [training.course] if training.course else []
    callbacks += [average] if average else []
    if log.build(directory) is not None:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    images = DataModule(data)
    with limits_explained(reconstructor, data):
        batches = len(data.train_loader(0, settings.processes))
        trainer = make_trainer(settings, batches, directory, log, callbacks)
        trainer.fit(training, images, ckpt_path=str(resume_from) if resume_from else None)
        if average is not None:
            average.keep(training)
        score = _select_weights(training, images, trainer, checkpointing)
    reconstructor.float()
    if trainer.is_global_zero:
        save_weights(reconstructor, directory)
    return {f"best {objective}": score, "steps": float(trainer.global_step)}


def validate(
    training: Training, data: Data, settings: TrainerSettings, directory: Path, objective: str
) -> dict[str, float]:
    """The objective of what has nothing to learn, on the validation images, by one process."""
    objective_mode(objective, training.metrics.all_names, training.metrics.extra)
    _quiet()
    alone = replace(settings, devices=1, nodes=1, strategy="auto", progress=False)
    trainer, images = make_trainer(alone, 1, directory, NoLog(), []), DataModule(data)
    with limits_explained(training.reconstructor, data):
        found = trainer.validate(training, images, verbose=False)[0]
    training.reconstructor.float()
    return {f"best {objective}": float(found[objective])}


def _select_weights(
    training: Training, images: DataModule, trainer: pl.Trainer, checkpointing: Checkpointing
) -> float:
    """Keep the last weights or load the best saved ones, whichever has the better objective.

    Training that ends within an epoch ends without a validation, so the last weights get one here.
    """
    last = float(trainer.validate(training, images, verbose=False)[0][checkpointing.objective])
    if checkpointing.best is None and not math.isfinite(last):
        raise NonFiniteError(
            f"{checkpointing.objective} = {last} in every validation: undefined for these images, "
            "or no reconstruction of them is finite. Choose another objective, or other images."
        )
    if checkpointing.best is None or checkpointing.improves(last, checkpointing.best):
        return last
    load_checkpoint(training.reconstructor, checkpointing.best_path)
    return checkpointing.best


def _callbacks(
    settings: TrainerSettings, objective: str, mode: str, directory: Path
) -> list[pl.Callback]:
    found = (
        settings.early_stopping and EarlyStopping(objective, mode, settings.early_stopping),
        settings.log_gradient_norm and GradientNorm(settings.log_every),
        settings.images_every and ValidationPictures(settings.images_every, directory / "images"),
        ProgressBar(leave=True) if settings.progress else ProgressLines(objective),
    )
    return [callback for callback in found if callback]


def _quiet() -> None:
    """Silence what a user cannot act on: hardware greetings and advice on loader workers."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*`srun` command is available.*",
        ".*The number of training batches.*",
        ".*is smaller than the logging interval.*",
        ".*You have overridden `transfer_batch_to_device`.*",
        ".*isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)


CPU_MESSAGE = "can't allocate memory"
"""Part of the message of PyTorch's allocator on CPU, which has no error class for it."""

GB = 1e9


class OutOfMemoryError(RunError):
    """A training that needs more memory than there is."""


@contextmanager
def limits_explained(reconstructor: Reconstructor, data: Data) -> Iterator[None]:
    """Turn errors of memory and disk into ones that say what to change.

    Raises:
        OutOfMemoryError: out of memory.
        DiskFullError: the disk is full, for a file without its own message.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            raise RunError(
                f"a process that loads images was killed: {' '.join(str(error).split())} Lower "
                "data.workers, or set data.workers=0; the same command continues from the newest "
                "checkpoint."
            ) from error
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not (out_of_memory or CPU_MESSAGE in str(error)):
            raise
        raise OutOfMemoryError(_advice(error, reconstructor, data)) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise DiskFullError(
            f"{error.strerror}{where}. Free space; the same command continues from the newest "
            "checkpoint."
        ) from error


def _advice(error: BaseException, reconstructor: Reconstructor, data: Data) -> str:
    model = reconstructor.model
    images, own = type(data).__name__, type(model).__name__
    sizes = [name for name in ("batch_size", "crop") if hasattr(data, name)]
    values = [f"{images}.{name} = {getattr(data, name)}" for name in sizes]
    remedies = ["a smaller batch_size or crop"]
    if isinstance(model, DEQ):
        values.append(f"{own}.max_iterations = {model.max_iterations}")
    else:
        remedies.insert(0, "a DEQ (keeps one step)")
    if isinstance(model, Unfolded):
        values.append(f"{own}.iterations = {model.iterations}")
        if not isinstance(model.backward, Checkpoint):
            remedies.insert(0, "the Checkpoint backward pass (keeps only iterates, same gradient)")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"out of memory in training, at {', '.join(values)}; the peak was {_peak()}. Use "
        f"{', or '.join(remedies)}. ({reason})"
    )


def _peak() -> str:
    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if on_device:
        return f"{on_device / GB:.2f} GB on the device"
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"{held / GB:.2f} GB in this process"
