"""A preset states what the packaged configuration states, and its references stay small."""

import time

import pytest

from tests.config.folder import refusal


def preset(folder, text):
    """The arguments that choose a preset of this content."""
    path = folder / "own/experiment/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{text}\n")
    return f"--config-dir={folder}/own", "experiment=mine"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("hydra: {job: {env_set: {A: '1'}}}", "hydra.job.env_set.A"),
        ("hydra: {run: {dir: elsewhere}}", "hydra.run.dir"),
        ("hydra: {callbacks: {a: {_target_: os.system}}}", "hydra.callbacks.a._target_"),
        ("hydra: {launcher: {_target_: os.system}}", "hydra.launcher._target_"),
        ("defaults: [{override /hydra/launcher: slurm}]", "hydra.launcher._target_"),
    ],
)
def test_settings_of_hydra_in_a_preset_are_refused_by_name(text, key, tmp_path):
    message = refusal(*preset(tmp_path, text))
    assert f"{key} = " in message or f"{key}." in message
    assert "only the packaged configuration states" in message


def test_a_preset_may_name_what_a_sweep_tries(tmp_path):
    assert refusal(*preset(tmp_path, "hydra: {sweeper: {params: {seed: '1,2'}}}")) == "accepted"


@pytest.mark.parametrize(
    "text",
    [
        "runs_dir: hydra\nname: ${${runs_dir}.job.name}",
        "runs_dir: hydra\nname: ${${runs_dir}:job.name}",
        "runs_dir: job\nname: ${hydra.${runs_dir}.name}",
        "runs_dir: job\nname: x${hydra[${runs_dir}][name]}",
    ],
)
def test_a_reference_inside_a_reference_evades_nothing(text, tmp_path):
    message = refusal(*preset(tmp_path, text))
    assert "name = " in message and "stored with the run" in message


def chain(link, length=40):
    """Keys of which each refers to the next, in a form that has `{0}` for the reference."""
    lines = [f"  k{i}: {link.format(f'${{trainable.lr.k{i + 1}}}')}" for i in range(length)]
    return "\n".join(["trainable:", " lr:", *lines, f"  k{length}: a"])


@pytest.mark.parametrize("link", ["'{0}{0}'", "[{0!r}, {0!r}]", "{{a: [{0!r}], b: [{0!r}]}}"])
def test_references_that_double_are_refused_with_the_limit(link, tmp_path):
    begun = time.monotonic()
    message = refusal(*preset(tmp_path, chain(link)))
    assert "trainable.lr.k" in message and "at most" in message
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("text", ["trainable: {lr: '${trainable.lr}'}", chain("'{0}'", 3000)])
def test_references_without_an_end_are_refused(text, tmp_path):
    begun = time.monotonic()
    assert "trainable.lr" in refusal(*preset(tmp_path, text))
    assert time.monotonic() - begun < 10
