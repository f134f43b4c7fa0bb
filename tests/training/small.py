"""A training that takes a second."""

import pytest

from unfold.algorithms.pgd import PGD
from unfold.data.image_data import EmbeddedData
from unfold.denoisers.dncnn import DnCNN
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.evaluation.metrics import ImageMetrics
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.reconstructor import Reconstructor
from unfold.training.checkpoints.checksum import newest_checkpoint
from unfold.training.fit import fit
from unfold.training.losses import MSE
from unfold.training.module import Training, TrainingOptions
from unfold.training.optim import Adam, Constant
from unfold.training.settings import CSV, TrainerSettings


def small_data(workers=0):
    return EmbeddedData(seed=0, crop=16, batch_size=4, crops_per_image=2, workers=workers)


def small_training(physics=None, model=None, algorithm=None, shards=1):
    import torch

    torch.manual_seed(0)
    physics = physics or Inpainting(Gaussian(0.02))
    model = model or Unfolded(2)
    kind = NonexpansiveResNet if model.needs_contraction else DnCNN
    prior = PnP(kind(1, depth=2, width=4))
    return Training(
        Reconstructor(algorithm or PGD(), prior, L2(), model),
        physics,
        MSE(),
        Adam(lr=1e-2),
        Constant(),
        ImageMetrics(),
        TrainingOptions(seed=0, log_every=1, shards=shards),
    )


def small_settings(steps, **more):
    given = {"max_steps": steps, "accelerator": "cpu", "progress": False, "log_every": 1}
    return TrainerSettings(**given | more)


def run(directory, *, steps=6, workers=0, training=None, resume_from=None, **settings):
    training = training or small_training()
    scores = fit(
        training,
        small_data(workers),
        small_settings(steps, **settings),
        CSV(),
        directory,
        objective="validation/psnr",
        resume_from=resume_from,
    )
    return training, scores


class KilledError(BaseException):
    """Stands for a kill: nothing that unfold does afterwards counts."""


def killed_at(step, how=None):
    """A training that dies, or calls `how`, in the middle of a step."""
    training = small_training()
    original = training.training_step

    def training_step(batch, batch_idx):
        if training.global_step == step:
            if how is None:
                raise KilledError
            how()
        return original(batch, batch_idx)

    training.training_step = training_step
    return training


def run_with_kills(directory, kills, *, steps, **settings):
    """A training killed in these steps, and started again each time; returns it and its scores."""
    for kill in (*kills, None):
        found = newest_checkpoint(directory / "checkpoints")
        training = small_training() if kill is None else killed_at(kill)
        given = {"steps": steps, "training": training, "resume_from": found.path, **settings}
        if kill is None:
            return run(directory, **given)
        with pytest.raises(KilledError):
            run(directory, **given)
    return None
