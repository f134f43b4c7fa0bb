"""`extend=RUN trainer.max_steps=N` continues a finished run, bit for bit as one run of N steps."""

from pathlib import Path

import pytest
import torch

from unfold.cli.console import guarded
from unfold.cli.train import train
from unfold.runs.catalogue import flat, read_reference
from unfold.training.checkpoints.weights import read_checkpoint

SMALL = [
    *("evaluation=none", "data.crop=16", "data.batch_size=8", "model.iterations=2"),
    *("prior.weights=null", "prior.denoiser.depth=2", "prior.denoiser.width=4"),
    *("data.crops_per_image=4", "trainer.threads=1", "trainer.progress=false"),
    *("trainer.log_every=1", "trainer.accelerator=cpu", "trainer.shards=1"),
]
CONSTANT = [*SMALL, "scheduler=constant"]


def made(*arguments):
    before = set(Path("runs").glob("*/*/status.json"))
    assert guarded(train, arguments) == 0
    (found,) = set(Path("runs").glob("*/*/status.json")) - before
    return found.parent


@pytest.mark.parametrize(
    ("first", "more"), [(4, ()), (5, ()), (6, ("trainer.ema=0.9",)), (8, ("trainer.ema=0.9",))]
)
def test_a_run_that_is_extended_is_one_longer_run_bit_for_bit(tmp_path, monkeypatch, first, more):
    """In the middle of an epoch of 4 steps, and at its end."""
    monkeypatch.chdir(tmp_path)
    short = made(*CONSTANT, *more, f"trainer.max_steps={first}")
    before = {path: path.read_bytes() for path in short.rglob("*") if path.is_file()}
    longer = made(f"extend={short.name}", "trainer.max_steps=10")
    whole = made(*CONSTANT, *more, "trainer.max_steps=10")
    for name in ("weights.safetensors", "metrics.csv", "results.json"):
        assert (longer / name).read_bytes() == (whole / name).read_bytes(), name
    states = [dict(flat(read_checkpoint(run / "checkpoints/last.ckpt"))) for run in (longer, whole)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        same = torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
        assert same(value, states[1][key]), key
    assert {path: path.read_bytes() for path in before} == before, "the parent is as it was"
    assert read_reference(str(longer)).config["extend"] == short.name
    assert len({short.name, longer.name, whole.name}) == 3


def test_a_schedule_over_the_steps_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = made(*SMALL, "trainer.max_steps=3")
    capsys.readouterr()
    longer = made(f"extend={short}", "trainer.max_steps=6")
    out = " ".join(capsys.readouterr().out.split())
    assert "note: not what one run of 6 steps computes: its scheduler has the factor" in out
    assert read_reference(str(longer)).scores["steps"] == 6
    assert guarded(train, [f"extend={short}", "trainer.max_steps=6"]) == 0
    assert "nothing to compute" in capsys.readouterr().out
    for arguments, message in {
        ("trainer.max_steps=3",): "it has made 3 steps; add trainer.max_steps=N with more",
        ("trainer.max_steps=6", "optimizer.lr=0.1"): "optimizer.lr differ; take its weights",
        ("trainer.max_steps=6", "-m"): "a sweep cannot extend a run",
    }.items():
        assert guarded(train, [f"extend={short}", *arguments]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_extend_counts_as_an_override_of_one_training_only(tmp_path, monkeypatch, capsys):
    """In a preset, or by a sweep, none of what is asked of the run would be compared."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/long.yaml").write_text("# @package _global_\nextend: some\n")
    (tmp_path / "mine/sweep").mkdir()
    (tmp_path / "mine/sweep/long.yaml").write_text(
        "# @package hydra.sweeper\nparams: {extend: some, seed: 'choice(1,2)'}\n"
    )
    for words in (["experiment=long"], ["-m", "+sweep=long"]):
        code = guarded(train, ["--config-dir=mine", *words])
        err = capsys.readouterr().err
        assert code == 2, err
        assert "extend = some: counts as an override of one training" in err, words
