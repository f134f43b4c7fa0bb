"""Machines without the devices that were asked for, and settings that are gone."""

import pytest
import torch

from unfold.cli.job import run_job
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.errors import ConfigError
from unfold.training.fit import make_trainer
from unfold.training.settings import NoLog, TrainerSettings


def test_a_machine_without_the_devices_is_refused_before_a_directory_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    (job,) = verify(compose(["trainer=ddp", f"runs_dir={tmp_path}"]))
    words = r"trainer\.accelerator = gpu: PyTorch finds no GPU .* Set accelerator=cpu, or run"
    with pytest.raises(ConfigError, match=words) as caught:
        run_job(job)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"TrainerSettings\.accelerator = gpu"):
        TrainerSettings(accelerator="gpu").check_devices()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"devices = 4: PyTorch finds 2 .*Set devices=2"):
        TrainerSettings(accelerator="gpu", strategy="ddp", devices=4).check_devices()
    TrainerSettings(accelerator="gpu", strategy="ddp", devices=2).check_devices()


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("trainer.on_nonfinite=rollback", "stop, skip"),
        ("trainer.on_unreached=rollback", "warn, stop, skip"),
        ("trainer.strategy=fsdp", "auto, ddp"),
    ],
)
def test_policies_and_strategies_that_do_not_exist_are_refused(option, allowed):
    with pytest.raises(ConfigError, match=f"expected one of {allowed}|one of {allowed}"):
        verify(compose(["model=deq", option]))


@pytest.mark.parametrize("name", ["LIMIT_TRAIN_BATCHES", "MAX_TIME", "FAST_DEV_RUN"])
def test_variables_that_configure_lightning_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv(f"PL_TRAINER_{name}", "1")
    with pytest.raises(ConfigError, match=rf"PL_TRAINER_{name} in the environment .* Unset it"):
        TrainerSettings().check_devices()
    with pytest.raises(ConfigError, match="Unset it"):
        make_trainer(TrainerSettings(), 50, tmp_path, NoLog(), [])
