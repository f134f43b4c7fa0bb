"""A changed configuration has another directory; an edited directory is refused with its keys."""

import shutil

import pytest

from tests.runs.made import make_run
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.compare import Computation, refuse_foreign
from unfold.runs.directory import Request, claim
from unfold.runs.files import SCHEMA_VERSION
from unfold.runs.identity import directory_for

CHANGED = {
    "seed": 1,
    "objective": "validation/loss",
    "algo.stepsize": 0.5,
    "prior.denoiser.depth": 3,
    "prior.weights": None,
    "physics.noise.sigma": 0.03,
    "model.iterations": 3,
    "trainable.untied": ["algo.*"],
    "data.crop": 32,
    "data.batch_size": 2,
    "data.seed": 7,
    "optimizer.lr": 0.01,
    "scheduler._target_": "unfold.training.optim.Constant",
    "trainer.max_steps": 5,
    "trainer.precision": "64",
    "trainer.threads": 3,
    "trainer.gradient_clip": None,
    "trainer.accumulate": 2,
    "trainer.ema": 0.9,
    "loss._target_": "unfold.training.losses.L1Loss",
}


@pytest.fixture(scope="module")
def plain():
    return verify(compose([]))[0].job


def replaced(node, keys, value):
    first, *rest = keys
    return {**node, first: replaced(node[first], rest, value) if rest else value}


def made(job, config):
    """The directory of a configuration, with a finished run in it."""
    path = directory_for(config, job.choices, "images")
    make_run(path.parent.parent, str(path.relative_to(path.parent.parent)))
    files.write_yaml(path / "config.yaml", {k: v for k, v in config.items() if k != "trust"})
    return path


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != ".lock"}


@pytest.mark.parametrize("key", CHANGED)
def test_a_changed_key_is_another_run_and_an_edited_file_is_refused(tmp_path, plain, key):
    assert len(CHANGED) == 20
    first = {**plain.config, "runs_dir": str(tmp_path)}
    other = replaced(first, key.split("."), CHANGED[key])
    one, two = (made(plain, config) for config in (first, other))
    before = content(one)
    assert one != two
    with claim(two, Request(rerun=True)):
        assert content(one) == before, "the first is as it was"
    (one / "config.yaml").write_bytes((two / "attempts/1/config.yaml").read_bytes())
    node = first
    for part in key.split("."):
        node = node[part]
    with pytest.raises(ConfigError) as refused, claim(one, Request(asked(first))):
        pytest.fail("an edited run was taken")
    text = str(refused.value)
    if isinstance(node, list):
        assert f"{key}[0] = " in text
    else:
        assert f"{key} = {CHANGED[key]} there, {node} asked for" in text


def asked(config):
    return Computation(config, "images")


def test_a_run_copied_to_another_name_is_refused_and_a_rerun_is_not(tmp_path, plain):
    first = {**plain.config, "runs_dir": str(tmp_path)}
    other = {**first, "seed": 1, "data": {**first["data"], "seed": 1}}
    one, two = (directory_for(config, plain.choices, "images") for config in (first, other))
    shutil.copytree(made(plain, first), two)
    with pytest.raises(ConfigError, match=r"data\.seed = 0 there, 1 asked for; seed = 0 there"):
        refuse_foreign(two, asked(other))
    with pytest.raises(ConfigError, match="images = images there, others asked for"):
        refuse_foreign(one, Computation(first, "others"))
    with claim(two, Request(asked(other), rerun=True)) as run:
        assert run.plan == "new"


def test_keys_that_cannot_change_a_number_may_differ(tmp_path, plain):
    first = {**plain.config, "runs_dir": str(tmp_path)}
    path = made(plain, first)
    refuse_foreign(path, asked({**first, "logger": None, "strict": True, "accept_code": True}))


def test_weights_count_by_content_and_by_what_was_written_of_them(tmp_path, plain):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"1")
    (tmp_path / "same").write_bytes(b"1")
    first = {**plain.config, "runs_dir": str(tmp_path), "init_from": str(weights)}
    path = made(plain, first)
    refuse_foreign(path, asked({**first, "init_from": str(tmp_path / "same")}))
    weights.write_bytes(b"2")
    with pytest.raises(ConfigError, match="init_from = sha256:"):
        refuse_foreign(path, asked({**first, "init_from": str(tmp_path / "same")}))


def test_a_run_that_was_killed_before_it_wrote_its_provenance_is_no_other_run(plain, tmp_path):
    files.write_yaml(tmp_path / "config.yaml", {"seed": 0, "schema_version": SCHEMA_VERSION})
    refuse_foreign(tmp_path, Computation(plain.config, "images"))
