"""Fitting: Lightning's trainer around the module, and the best weights at the end."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from torch import nn

from unfold.errors import ConfigError, listing, nearest
from unfold.evaluation.metrics import HIGHER_IS_BETTER
from unfold.training.callbacks import AveragedWeights, EarlyStopping, GradientNorm, Pictures
from unfold.training.checkpoints.resources import limits_explained
from unfold.training.checkpoints.states import AtomicCheckpointIO, TrainingStates
from unfold.training.checkpoints.weights import load_checkpoint, save_weights
from unfold.training.datamodule import Images

if TYPE_CHECKING:
    from unfold.data.image_data import ImageData
    from unfold.training.module import Training
    from unfold.training.settings import Log, TrainerSettings


def keep_channels_last(network: nn.Module) -> None:
    """Lay the filters of every 2-D convolution out channels last; images follow their filters.

    Only theirs: tensors that a network folds into filters itself, such as those of a firmly
    nonexpansive one, have as many axes as it likes, and gain nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def make_trainer(
    settings: "TrainerSettings", directory: Path, log: "Log", callbacks: list[pl.Callback]
) -> pl.Trainer:
    """A trainer that writes into a run directory.

    Args:
        settings: how long, on what, how precisely.
        directory: of the run.
        log: where the curves go.
        callbacks: what happens beside the steps.
    """
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=settings.strategy,
        precision="64-true" if settings.precision == "64" else "32-true",
        max_steps=settings.max_steps,
        max_epochs=settings.max_epochs,
        gradient_clip_val=settings.gradient_clip,
        accumulate_grad_batches=settings.accumulate,
        check_val_every_n_epoch=settings.validate_every,
        log_every_n_steps=settings.log_every,
        enable_progress_bar=settings.progress,
        enable_model_summary=False,
        default_root_dir=directory,
        enable_checkpointing=False,
        logger=log.build(directory) or False,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        deterministic=True,
    )


class Bar(RichProgressBar):
    """Lightning's bar without what a run directory makes meaningless: versions, epochs to come."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch}"


def fit(
    training: "Training",
    data: "ImageData",
    settings: "TrainerSettings",
    log: "Log",
    directory: Path,
    *,
    objective: str,
    resume_from: Path | None = None,
) -> dict[str, float]:
    """Train, and leave the best weights in the reconstructor and in the run directory.

    Args:
        training: the module.
        data: the images.
        settings: how long, and on what.
        log: where the curves go.
        directory: of the run.
        objective: the validation metric that chooses the best weights, `validation/psnr`.
        resume_from: a training state to go on from.

    Returns:
        The best value of the objective, and the step it was reached at.

    Raises:
        UnfoldError: a signal, the machine or the numbers ended it; what was saved is kept.
    """
    mode = objective_mode(objective, training.metrics.all_names)
    states = TrainingStates(directory / "checkpoints", settings.checkpoint_every, objective, mode)
    reconstructor = training.reconstructor
    if settings.wants_channels_last():
        keep_channels_last(reconstructor)
    _quiet()
    images = Images(data)
    average = AveragedWeights(settings.ema) if settings.ema is not None else None
    with limits_explained(reconstructor, data):
        callbacks = _callbacks(settings, log, states, directory)
        callbacks += [average] if average else []
        trainer = make_trainer(settings, directory, log, callbacks)
        trainer.fit(training, images, ckpt_path=str(resume_from) if resume_from else None)
        if average is not None:
            average.keep(training)
        score = _choose_weights(training, images, trainer, states)
    reconstructor.float()
    if trainer.is_global_zero:
        save_weights(reconstructor, directory)
    return {f"best {objective}": score, "steps": float(trainer.global_step)}


def _choose_weights(
    training: "Training",
    images: Images,
    trainer: pl.Trainer,
    states: TrainingStates,
) -> float:
    """Put the last weights or the best saved ones into the reconstructor, as the objective prefers.

    Training that ends within an epoch ends without a validation, so the last weights get one here.
    """
    last = float(trainer.validate(training, images, verbose=False)[0][states.objective])
    if states.best is None or states.improves(last, states.best):
        return last
    load_checkpoint(training.reconstructor, states.best_path)
    return states.best


def objective_mode(objective: str, names: tuple[str, ...]) -> str:
    """`max` or `min`, as the metric asks.

    Raises:
        ConfigError: no such metric is measured in validation.
    """
    allowed = [f"validation/{name}" for name in (*names, "loss")]
    if objective not in allowed:
        raise ConfigError(
            f"objective = {objective}: not measured{nearest(objective, allowed)} "
            f"Available: {listing(allowed)}."
        )
    return "max" if HIGHER_IS_BETTER.get(objective.removeprefix("validation/"), False) else "min"


def _callbacks(
    settings: "TrainerSettings", log: "Log", states: TrainingStates, directory: Path
) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = [states]
    if settings.early_stopping is not None:
        callbacks.append(EarlyStopping(settings.early_stopping, states))
    if settings.log_gradient_norm:
        callbacks.append(GradientNorm(settings.log_every))
    if settings.images_every is not None:
        callbacks.append(Pictures(settings.images_every, directory / "images"))
    if settings.progress:
        callbacks.append(Bar(leave=True))
    if log.build(directory) is not None:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    return callbacks


def _quiet() -> None:
    """Silence what a user cannot act on: hardware greetings and advice on loader workers."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*The number of training batches.*",
        ".*is smaller than the logging interval.*",
        ".*You have overridden `transfer_batch_to_device`.*",
        ".*isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)
