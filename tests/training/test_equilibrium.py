"""What an equilibrium adds to training: its penalty in the loss."""

from typing import Any

import pytest
import torch

from tests.engine import network_prior, reconstructor
from unfold.algorithms.pgd import PGD
from unfold.data.example import Batch
from unfold.evaluation.metrics import ImageMetrics
from unfold.models.deq import DEQ, JacobianPenalty
from unfold.physics.base import Examples
from unfold.physics.denoising import Denoising
from unfold.training.losses import MSE
from unfold.training.module import Training, TrainingOptions
from unfold.training.optim import Adam, Constant


def module(monkeypatch: pytest.MonkeyPatch, model: DEQ) -> tuple[Training, dict[str, Any]]:
    """A module whose log is a dictionary."""
    net = reconstructor(PGD(stepsize=0.5), model, network_prior()).float()
    training = Training(
        net, Denoising(), MSE(), Adam(), Constant(), ImageMetrics(), TrainingOptions(0, log_every=1)
    )
    log: dict[str, Any] = {}
    monkeypatch.setattr(training, "log", lambda name, value, **_: log.update({name: value}))
    monkeypatch.setattr(training, "log_dict", lambda values, **_: log.update(values))
    return training, log


def test_the_penalty_is_added_to_the_loss_and_logged(monkeypatch: pytest.MonkeyPatch):
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = Batch(Examples(images), torch.tensor([0, 1]), 0)
    losses = []
    for weight in (0.0, 2.0):
        training, log = module(monkeypatch, DEQ(penalty=JacobianPenalty(weight)))
        losses.append(training.training_step(batch, 0).detach())
        assert ("train/penalty" in log) == (weight > 0)
    assert torch.allclose(losses[1], losses[0] + log["train/penalty"])
    assert log["train/penalty"] > 1e-3
