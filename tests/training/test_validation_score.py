"""What has nothing to learn has a validation score, from validation images alone."""

from pathlib import Path

import pytest
import torch

from unfold import build, load
from unfold.cli.console import guarded
from unfold.cli.train import train
from unfold.config.build import build_training, configure
from unfold.errors import ConfigError
from unfold.random import Draws
from unfold.runs.files import read_json
from unfold.training.fit import validate

SMALL = (
    *("algo=gd", "prior=tikhonov", "data.evaluation_batch_size=1", "evaluation=none"),
    *("trainer.progress=false", "trainer.accelerator=cpu", "physics=denoising"),
)
CLASSICAL = (*SMALL, "model=classical", "model.max_iterations=3")


@torch.no_grad()
def test_the_score_of_a_classical_algorithm_is_the_mean_over_validation_images(
    tmp_path, monkeypatch
):
    checked = configure(CLASSICAL)
    made = checked.components
    monkeypatch.setattr(type(made.data), "content", None)
    found = validate(
        build_training(checked, made), made.data, made.trainer, tmp_path, "validation/psnr"
    )
    scores = []
    for index, (_, example) in enumerate(made.data.examples("validation")):
        x = example.image[None]
        y, operator = made.physics.measure(x, Draws(0, [index], "validation"))
        error = (made.reconstructor(y, operator, noise_level=0.05) - x).square().mean()
        scores.append(float(-10 * error.log10()))
    assert found == {"best validation/psnr": pytest.approx(sum(scores) / len(scores), abs=1e-3)}
    assert not list(tmp_path.iterdir())


def test_plug_and_play_and_classical_runs_are_finished_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plug = (*SMALL[2:], "prior=dncnn", "model.iterations=1", "trainable.learn=[]")
    for words in (CLASSICAL, plug):
        assert guarded(train, list(words)) == 0
    kept = [path.parent for path in Path("runs").glob("*/*/weights.safetensors")]
    assert [path.parent.name for path in kept] == ["pgd-dncnn-denoising"]
    fresh, stored = build(*plug), load(kept[0])
    for a, b in zip(
        fresh.reconstructor.parameters(), stored.reconstructor.parameters(), strict=True
    ):
        assert a.equal(b)
    results = [read_json(path) for path in Path("runs").glob("*/*/results.json")]
    assert len(results) == 2 and all(set(one) == {"best validation/psnr"} for one in results)


@pytest.mark.parametrize("words", [("trainable.learn=[]",), ("model=classical", "algo=gd")])
def test_a_network_that_is_neither_trained_nor_learned_is_refused(words):
    """Plug-and-play of random weights has a score, and it would mean nothing."""
    prior = (
        ("prior=dncnn", "prior.weights=null")
        if len(words) == 1
        else ("prior=red", "prior.weights=null")
    )
    with pytest.raises(ConfigError, match=r"prior.weights = null: .* this network is untrained"):
        build(*SMALL[2:], *prior, *words)
    build(*SMALL[2:], "prior=dncnn", "prior.weights=null", "trainable.learn=[prior.*]")
