"""Runs of another schema version are refused by name, and nothing in them is touched."""

import pytest

from tests.runs.made import make_run
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.errors import ConfigError, RunError
from unfold.runs import files
from unfold.runs.catalogue import catalogue, read_reference
from unfold.runs.directory import Request, claim
from unfold.runs.files import SCHEMA_VERSION, stored_config


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (SCHEMA_VERSION + 1, "written by a later one and stays as it is. Install a newer unfold"),
        (SCHEMA_VERSION - 1, "written by an earlier one and stays as it is. Repeat the run"),
        ("1", "written by an earlier one"),
    ],
)
def test_another_version_is_refused_by_its_file(tmp_path, version, message):
    path = make_run(tmp_path, "pgd/one", schema_version=version)
    expected = (
        rf"one/config\.yaml: schema_version = {version}: this unfold reads version .*{message}"
    )
    for read in (lambda: read_reference(str(path)), lambda: stored_config(path)):
        with pytest.raises(ConfigError, match=expected):
            read()


def test_a_configuration_without_a_version_is_of_the_first(tmp_path):
    files.write_yaml(tmp_path / "config.yaml", {"seed": 0})
    with pytest.raises(ConfigError, match="schema_version = 1"):
        stored_config(tmp_path)
    files.write_yaml(tmp_path / "config.yaml", ["seed"])
    with pytest.raises(RunError, match="does not hold a configuration"):
        stored_config(tmp_path)
    (tmp_path / "config.yaml").unlink()
    assert stored_config(tmp_path) == {}


def content(path):
    return {file: file.stat().st_mtime_ns for file in sorted(path.rglob("*"))}


def test_an_older_run_is_listed_and_never_touched(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_run(tmp_path / "runs", "pgd/old", schema_version=2, scores={"test/psnr": 1.0})
    make_run(tmp_path / "runs", "pgd/now", scores={"test/psnr": 2.0})
    before = content(path)
    for request in (Request(), Request(rerun=True)):
        with pytest.raises(ConfigError, match="schema_version = 2"), claim(path, request):
            pytest.fail("an older run was claimed")
    assert {entry.name: entry.state for entry in catalogue(tmp_path / "runs")} == {
        "pgd/old": "schema 2",
        "pgd/now": "finished",
    }
    for command in (["list"], ["table"]):
        assert guarded(dispatch, command) == 0
    for command in (["show", "old"], ["diff", "old", "now"], ["reproduce", "old"]):
        assert guarded(dispatch, command) == 2
        assert "schema_version = 2: this unfold reads" in capsys.readouterr().err
    assert content(path) == before
