"""The list of runs, and the differences of two of them."""

from pathlib import Path

import pytest

from tests.runs.made import make_run
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.catalogue import catalogue, flat
from unfold.runs.compare import compare
from unfold.runs.processes import Lock, is_held


def test_a_run_without_a_process_was_killed(tmp_path):
    path = make_run(tmp_path, "pgd/1", state="running")
    assert [entry.state for entry in catalogue(tmp_path)] == ["killed"]
    lock = Lock(path / ".lock")
    lock.acquire()
    assert is_held(path / ".lock")
    assert [entry.state for entry in catalogue(tmp_path)] == ["running"]
    lock.release()
    assert not is_held(path / ".lock")


def test_a_run_that_ended_before_it_wrote_anything_is_listed(tmp_path):
    path = make_run(tmp_path, "pgd/1", state="failed")
    for name in ("config.yaml", "provenance.json", "overrides.yaml"):
        (path / name).unlink()
    (entry,) = catalogue(tmp_path)
    assert (entry.state, entry.config, entry.scores) == ("failed", {}, {})


def test_patterns_choose_runs(tmp_path, monkeypatch):
    for name in ("pgd-blur/1", "pgd-mri/2", "admm-blur/3"):
        make_run(tmp_path / "runs", name)
    monkeypatch.chdir(tmp_path)
    everything = {"pgd-blur/1", "pgd-mri/2", "admm-blur/3"}
    for pattern, expected in {
        "pgd-*": {"pgd-blur/1", "pgd-mri/2"},
        "*/3": {"admm-blur/3"},
        "*blur*": {"pgd-blur/1", "admm-blur/3"},
        "runs/**": everything,
        "./runs/*": everything,
        "runs/pgd-*/*": {"pgd-blur/1", "pgd-mri/2"},
    }.items():
        assert {entry.name for entry in catalogue(Path("runs"), pattern)} == expected, pattern
    absolute = catalogue(tmp_path / "runs", f"{tmp_path}/runs/*/2")
    assert [entry.name for entry in absolute] == ["pgd-mri/2"]
    monkeypatch.chdir("/")
    for pattern in ("runs/**", str(tmp_path / "runs/**"), "*"):
        found = catalogue(tmp_path / "runs", pattern)
        assert {entry.name for entry in found} == everything, pattern


def test_a_pattern_that_fits_no_run_is_reported(tmp_path):
    make_run(tmp_path, "pgd-blur/1")
    with pytest.raises(ConfigError, match=r"pgd-blr: none of the 1 runs .* mean 'pgd-blur'\?"):
        catalogue(tmp_path, "pgd-blr")
    assert catalogue(tmp_path / "none", "pgd-blr") == [], "where there are no runs, none is missed"


def test_keys_are_flattened_in_full():
    config = {"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}
    assert flat(config) == {"a.b[0]": 1, "a.b[1].c": 2, "a.d": {}, "e": None}


def test_differences_are_in_their_section(tmp_path):
    one = make_run(tmp_path, "pgd/1", scores={"test/psnr": 30.0}, optimizer={"lr": 0.1})
    other = make_run(tmp_path, "pgd/2", scores={"test/psnr": 31.0}, optimizer={"lr": 0.2, "eps": 1})
    origin = files.read_json(other / "provenance.json")
    origin["sources"] = {"models/deq.py": "2", "new.py": "3"}
    origin["machine"]["threads"] = 1
    files.write_json(other / "provenance.json", origin)
    found = compare(one, other)
    assert found["configuration"] == [("optimizer.eps", "-", "1"), ("optimizer.lr", "0.1", "0.2")]
    assert found["code"] == [("models/deq.py", "1", "2"), ("new.py", "-", "3")]
    assert found["environment"] == [("threads", "2", "1")]
    assert found["results"] == [("test/psnr", "30.0", "31.0")]
    assert not any(compare(one, one).values())
