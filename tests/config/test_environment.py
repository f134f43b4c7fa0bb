"""The values of environment variables reach no folder's name and no stored configuration."""

import pytest

from tests.config.folder import refusal
from unfold.config.compose import compose
from unfold.errors import ConfigError

NAMES = [
    "name: ${oc.env:SECRET}",
    "name: x-${oc.env:SECRET}",
    "name: ${oc.env:SECRET,none}",
    "name: ${oc.env:NONE,${oc.env:SECRET}}",
    "name: ${oc.decode:${oc.env:SECRET}}",
    "name: ${oc.select:nothing,${oc.env:SECRET}}",
    "init_from: ${oc.env:SECRET}\nname: ${init_from}",
    "hydra: {job: {env_set: {A: '${oc.env:SECRET}'}}}\nname: ${hydra:job.env_set.A}",
    "hydra: {job: {env_set: {A: '${oc.env:SECRET}'}}}\nobjective: x${ hydra:job.env_set.A}",
    "runs_dir: ${oc.env:SECRET}",
    "name: ${hydra.job.name}",
    "name: ${oc.select:hydra.runtime.cwd}",
    "name: ${hydra[job][name]}",
]


@pytest.mark.parametrize("text", NAMES)
def test_a_preset_names_nothing_after_the_environment(text, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/experiment/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    given = [f"--config-dir={tmp_path}/own", "experiment=mine"]
    message = refusal(*given)
    assert "stored with the run" in message
    assert "hunter2" not in message
    try:
        jobs = compose(given).jobs
    except ConfigError:
        return
    assert "hunter2" not in str([dict(job.stored) for job in jobs])
