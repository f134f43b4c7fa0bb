import pytest

from unfold.errors import ConfigError, RunError
from unfold.runs import files, status
from unfold.runs.catalogue import find_runs, read_reference
from unfold.runs.files import KEY, SCHEMA_VERSION


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pgd-dncnn/11111111", "admm-tv/22222222"):
        directory = tmp_path / "runs" / name
        files.write_yaml(directory / "config.yaml", {"seed": 1, KEY: SCHEMA_VERSION})
        files.write_yaml(directory / "overrides.yaml", ["seed=1"])
        files.write_json(directory / "provenance.json", {"choices": {"algo": "pgd"}})
        status.write(directory, status.start())
    return tmp_path / "runs"


@pytest.mark.parametrize("text", ["runs/pgd-dncnn/11111111", "pgd-dncnn/11111111", "11111111"])
def test_a_run_has_several_names(runs, text):
    reference = read_reference(text)
    assert reference.path == runs / "pgd-dncnn/11111111"
    assert reference.config == {"seed": 1, KEY: SCHEMA_VERSION}
    assert reference.overrides == ("seed=1",)
    assert reference.choices == {"algo": "pgd"}


def test_a_run_that_is_not_there_names_the_nearest(runs):
    with pytest.raises(ConfigError, match=r"run = pgd-dncn/1111: no such run, did you mean 'pgd-"):
        read_reference("pgd-dncn/1111")


def test_a_folder_that_is_no_run_is_said(runs):
    with pytest.raises(RunError, match=r"is no run directory: it has no status\.json"):
        read_reference("runs/pgd-dncnn")


def test_a_damaged_run_is_said(runs):
    files.write_yaml(runs / "pgd-dncnn/11111111/config.yaml", [1])
    with pytest.raises(RunError, match="is damaged"):
        read_reference("11111111")


def test_all_runs_are_found(runs):
    assert {path.name for path in find_runs(runs)} == {"11111111", "22222222"}
    assert find_runs(runs / "nowhere") == []
