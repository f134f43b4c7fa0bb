"""Lightning's trainer, made from the settings of a training."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from unfold.training.atomic import AtomicCheckpointIO
from unfold.training.settings import Log, TrainerSettings
from unfold.training.sharded import Sharded


def make_trainer(
    settings: TrainerSettings, directory: Path, log: Log, callbacks: list[pl.Callback]
) -> pl.Trainer:
    """A trainer that writes into a run directory.

    Args:
        settings: how long, on what, how precisely.
        directory: of the run.
        log: where the curves go.
        callbacks: what happens beside the steps.
    """
    # Lightning would take a job of SLURM for one that has a task for each device.
    where = [LightningEnvironment()] if settings.nodes > 1 else []
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=Sharded() if settings.strategy == "fsdp" else settings.strategy,
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
        plugins=[AtomicCheckpointIO(), *where],
        deterministic=True,
    )
