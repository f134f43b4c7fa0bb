"""Settings that several processes cannot share, and machines without what was asked for."""

import pytest
import torch

from unfold.cli.job import run_job
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.errors import ConfigError
from unfold.training.processes import check_machine
from unfold.training.settings import TrainerSettings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devices": 1}, "devices = 1: must be 2 or above with strategy=fsdp"),
        ({"ema": 0.9}, r"ema = 0.9: must be null with strategy=fsdp.*write trainer=ddp"),
        ({"images_every": 2}, "images_every = 2: must be null with strategy=fsdp"),
        ({"precision": "64"}, "precision = 64: must be 32 or bf16 with strategy=fsdp"),
        ({"channels_last": True}, "channels_last = True: must be false or null"),
        ({"on_nonfinite": "rollback"}, "on_nonfinite = rollback: one process goes back"),
    ],
)
def test_what_spread_networks_cannot_do_is_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        TrainerSettings(**{"strategy": "fsdp", "devices": 2} | given)
    settings = TrainerSettings(strategy="fsdp", devices=2)
    assert not settings.wants_channels_last()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("model=deq", r"trainer.strategy = fsdp: .*an equilibrium calls it as often.*trainer=ddp"),
        ("prior=gradient_step", r"trainer.strategy = fsdp: prior GradientStep is itself a deriv"),
    ],
)
def test_models_that_spread_networks_cannot_compute_are_refused(word, words):
    with pytest.raises(ConfigError, match=words):
        verify(compose(["trainer=fsdp", word]))
    verify(compose(["trainer=fsdp", "model/backward=checkpoint"]))


def test_a_machine_without_the_devices_is_told_before_a_directory_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for option, instead in (("ddp", "trainer=ddp_cpu"), ("fsdp", "trainer.accelerator=cpu")):
        (job,) = verify(compose([f"trainer={option}", f"runs_dir={tmp_path}"]))
        words = f"trainer.accelerator = gpu: PyTorch finds no GPU .* Write {instead}, or start"
        with pytest.raises(ConfigError, match=words) as caught:
            run_job(job)
        assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"Write trainer\.accelerator=cpu"):
        check_machine(TrainerSettings(accelerator="gpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        ConfigError, match=r"devices = 4: PyTorch finds 2 .*Write trainer.devices=2"
    ):
        check_machine(TrainerSettings(accelerator="gpu", strategy="ddp", devices=4))
    check_machine(TrainerSettings(accelerator="gpu", strategy="ddp", devices=2))
