"""`unfold.load(RUN)` is the run as the command has it: same numbers, from any of its names."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import unfold
from unfold.cli.console import guarded
from unfold.cli.train import train
from unfold.data.image_data import EmbeddedData
from unfold.errors import CheckpointError, ConfigError, RunError
from unfold.evaluation.metrics import psnr
from unfold.models.unfolded import Unfolded
from unfold.training.checkpoints.weights import load_weights, save_weights

SMALL = [
    *(
        "evaluation=robustness",
        "evaluation.steps=0",
        "data.crop=16",
        "data.batch_size=4",
        "model.iterations=2",
    ),
    *("prior.weights=null", "prior.denoiser.depth=2", "prior.denoiser.width=8"),
    *("trainer.max_steps=4", "trainer.threads=1", "trainer.progress=false"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("loads")
    before = Path.cwd()
    os.chdir(root)
    try:
        assert guarded(train, SMALL) == 0
    finally:
        os.chdir(before)
    (path,) = root.glob("runs/*/g*") if list(root.glob("runs/*/g*")) else root.glob("runs/*/*")
    return path


def scored(net, physics):
    """The mean PSNR of the test images, one at a time."""
    data = EmbeddedData(seed=0)
    values = []
    for i, (_, x) in enumerate(data.images("test")):
        y, operator = physics.measure(x[None], unfold.Draws(0, (i,), "test"))
        values.append(float(psnr(net(y, operator), x[None], 1.0)))
    return sum(values) / len(values)


@torch.no_grad()
def test_a_loaded_run_has_the_numbers_of_the_command(run):
    experiment = unfold.load(run)
    assert experiment.config["model"]["iterations"] == 2
    claimed = experiment.scores["test/psnr"]
    assert scored(experiment, experiment.physics) == pytest.approx(claimed, abs=2e-4)
    state = load_file(run / "weights.safetensors")
    net = unfold.Reconstructor(
        unfold.PGD(),
        unfold.PnP(unfold.DnCNN(1, depth=2, width=8)),
        unfold.L2(),
        unfold.Unfolded(2),
        trainable=experiment_trainable(experiment),
    )
    net.load_state_dict(state)
    assert scored(net, experiment.physics) == pytest.approx(claimed, abs=2e-4)


def experiment_trainable(experiment):
    from unfold.parameters.select import Trainable

    names = ("learn", "untied", "constrain", "relative")
    return Trainable(**{name: experiment.config["trainable"][name] for name in names})


def test_a_run_has_several_names(run):
    root = run.parents[1]
    for name in (run, str(run), f"{run.parent.name}/{run.name}", run.name):
        assert unfold.load(name, runs_dir=root).scores
    with pytest.raises(ConfigError, match="no such run"):
        unfold.load("nowhere", runs_dir=root)


def test_weights_that_were_replaced_are_noticed(run, tmp_path):
    file = run / "weights.safetensors"
    kept = file.read_bytes()
    experiment = unfold.load(run)
    try:
        with torch.no_grad():
            next(experiment.reconstructor.parameters()).add_(1)
        save_weights(experiment.reconstructor, run)
        with pytest.raises(RunError, match=r"weights\.safetensors was changed"):
            unfold.load(run)
    finally:
        file.write_bytes(kept)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.iterations=3", "model.iterations = 2, and this model has 3"),
        ("start=back_projection", r"start = Regularised\(weight=0.02\), and this model has BackP"),
        ("start.weight=0.1", r"start = Regularised\(weight=0.02\), and this .*0\.1"),
        ("trainable.relative=[]", "algo.stepsize = "),
        ("algo=hqs", "algo = PGD, and this model has HQS"),
    ],
)
def test_weights_refuse_another_start_count_or_scale(run, override, key):
    with pytest.raises(CheckpointError, match=key) as refused:
        unfold.load(run, override)
    assert "prior.weights=RUN" in str(refused.value)


def test_a_file_of_weights_refuses_too(run):
    net = unfold.load(run).reconstructor
    load_weights(net, run / "weights.safetensors")
    net.model = replace(net.model, iterations=3)
    assert isinstance(net.model, Unfolded)
    with pytest.raises(CheckpointError, match=r"model\.iterations = 2, and this model has 3"):
        load_weights(net, run / "weights.safetensors")
