"""What a run writes down of itself: 14 groups of facts, and the history of its starts."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.cli.train import train
from unfold.config.compose import compose
from unfold.config.stored_run import configured
from unfold.errors import PreemptedError
from unfold.random import SCHEME
from unfold.runs.catalogue import read_reference
from unfold.runs.identity import source_hashes


def run(*arguments):
    return guarded(train, arguments)


def origin():
    (path,) = Path("runs").glob("*/*/provenance.json")
    return json.loads(path.read_text())


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def facts(found, directory):
    """Each of the 14 groups, and whether what it says can be seen to be true."""
    git, machine = found["git"], found["machine"]
    results = json.loads((directory / "results.json").read_text())
    freeze = "\n".join(found["freeze"]["packages"]).encode()
    flags = found["deterministic"]
    (attempt,) = found["attempts"]
    return {
        "configuration": found["config"]["sha256"] == sha(directory / "config.yaml"),
        "overrides": list(found["given_by"]) == found["overrides"] == ["seed=3"],
        "command": found["command"] == [sys.argv[0], "seed=3"],
        "commit": git is None or (len(git["commit"]) == 40 and git["dirty"] == bool(git["status"])),
        "changes": git is None or (git["diff_is_whole"] and isinstance(git["untracked"], list)),
        "packages": found["freeze"]["sha256"] == hashlib.sha256(freeze).hexdigest(),
        "build": found["build"]["torch"] == torch.__version__ and found["build"]["blas"] != "",
        "machine": machine["threads"] == torch.get_num_threads() and machine["cpu"] != "",
        "flags": flags["use_deterministic_algorithms"]
        is torch.are_deterministic_algorithms_enabled(),
        "seed": found["streams"] == {"scheme": SCHEME, "seed": 3},
        "images": found["images"]["test"]["ids"] == ["one"] and found["data"] == "images",
        "checkpoints": json.loads((directory / "manifest.json").read_text())["files"][
            "weights.safetensors"
        ]
        == sha(directory / "weights.safetensors"),
        "history": attempt["outcome"] == "finished" and attempt["started"] <= attempt["ended"],
        "results": found["results"] == results != {},
    }


def test_a_finished_run_has_all_14_groups_and_they_are_true(calls, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    before = torch.are_deterministic_algorithms_enabled()
    fit = sys.modules["unfold.training.fit"].fit

    def deterministic(*parts, **more):
        torch.use_deterministic_algorithms(True)
        (parts[4] / "weights.safetensors").write_bytes(b"weights")
        return fit(*parts, **more)

    monkeypatch.setattr("unfold.training.fit.fit", deterministic)
    try:
        assert run("seed=3") == 0
        (directory,) = Path("runs").glob("*/*")
        checked = facts(origin(), directory)
        assert origin()["deterministic"]["use_deterministic_algorithms"], "as it was while it ran"
    finally:
        torch.use_deterministic_algorithms(before)
    assert [name for name, true in checked.items() if not true] == []
    assert len(checked) == 14


def test_every_start_is_kept_with_how_it_ended(calls):
    for fail in (PreemptedError("SIGTERM: ended."), ValueError("x"), None):
        calls.fail = fail
        run("trainer.log_every=5" if fail is None else "seed=0")
    attempts = origin()["attempts"]
    outcomes = [attempt["outcome"] for attempt in attempts]
    assert outcomes == ["preempted: SIGTERM: ended.", "failed: x", "finished"]
    assert [attempt["continues"] for attempt in attempts] == [None, "last.ckpt", "last.ckpt"]
    assert attempts[0]["overrides"] == ["seed=0"]
    assert origin()["overrides"] == attempts[2]["overrides"] == ["trainer.log_every=5"]


def test_a_start_that_was_killed_is_reported_at_the_next(calls):
    calls.fail = KeyboardInterrupt()
    run()
    (path,) = Path("runs").glob("*/*/provenance.json")
    found = origin()
    found["attempts"][0] |= {"outcome": None, "ended": None}
    path.write_text(json.dumps(found))
    calls.fail = None
    assert run() == 0
    assert [attempt["outcome"] for attempt in origin()["attempts"]] == ["killed", "finished"]


def test_a_run_continued_under_other_code_says_which_files(calls, capsys):
    calls.fail = ValueError("x")
    run()
    (path,) = Path("runs").glob("*/*/provenance.json")
    found = origin()
    found["sources"]["errors.py"] = "before"
    path.write_text(json.dumps(found))
    calls.fail = None
    assert run() == 2
    err = capsys.readouterr().err
    assert "differ (1): errors.py. Add accept_code=true" in err and "rerun=true" in err
    assert run("accept_code=true") == 0
    assert origin()["attempts"][-1]["changed_sources"] == {"errors.py": "before"}
    assert origin()["sources"] == dict(source_hashes())
    assert len(calls) == 3, "it went on in the same directory"


@pytest.fixture
def tokens(calls, tmp_path, monkeypatch):
    """A folder with an option that has a secret, from the environment."""
    folder = tmp_path / "mine"
    (folder / "loss").mkdir(parents=True)
    text = "_target_: tests.cli.secretive.Secretive\ntoken: ${oc.env:UNFOLD_TEST_TOKEN}\n"
    (folder / "loss/secretive.yaml").write_text(text)
    monkeypatch.setenv("UNFOLD_TEST_TOKEN", "hush")
    return ["--config-dir", str(folder), "loss=secretive", "trust=[tests]"]


def written():
    return " ".join(path.read_text() for path in Path("runs").glob("*/*/*.[jy]*"))


def test_a_secret_is_part_of_the_name_and_of_no_file(tokens, capsys, monkeypatch):
    assert run(*tokens) == 0
    assert "hush" not in written() + capsys.readouterr().out
    config = yaml.safe_load(next(Path("runs").glob("*/*/config.yaml")).read_text())
    assert config["loss"]["token"] == "${oc.env:UNFOLD_TEST_TOKEN}"
    assert run(*tokens) == 0
    assert "nothing to compute" in capsys.readouterr().out
    monkeypatch.setenv("UNFOLD_TEST_TOKEN", "other")
    assert run(*tokens) == 0
    assert len(list(Path("runs").glob("*/*"))) == 2


def test_a_secret_that_is_typed_is_not_written_down(tokens, capsys, monkeypatch):
    arguments = [*tokens, "loss.token=swordfish"]
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    assert run(*arguments) == 0
    assert "swordfish" not in written() + capsys.readouterr().out
    (path,) = Path("runs").glob("*/*")
    assert "loss.token=<redacted>" in read_reference(str(path)).overrides
    assert guarded(dispatch, ["evaluate", f"run={path}", "trust=[tests]"]) == 2
    assert "loss.token is secret and was not kept" in " ".join(capsys.readouterr().err.split())


def test_a_secret_that_is_refused_is_not_shown(tokens, capsys):
    assert run(*tokens, "loss.token=bad") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "loss: Secretive(token='<redacted>') refuses its values: it is too short" in said


def test_a_path_from_the_environment_is_refused(calls, capsys, monkeypatch):
    monkeypatch.setenv("UNFOLD_TEST_PATH", "somewhere")
    for key in ("runs_dir", "name", "init_from", "prior.weights"):
        assert run(f"{key}=${{oc.env:UNFOLD_TEST_PATH}}") == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"{key} = ${{oc.env:UNFOLD_TEST_PATH}}: a path is stored with the run" in said
    assert run("name=a${objective}", "objective=${oc.env:UNFOLD_TEST_PATH}") == 2
    assert "name = a${oc.env:UNFOLD_TEST_PATH}: a path" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_an_evaluation_reads_the_secret_again(tokens, capsys, monkeypatch):
    assert run(*tokens) == 0
    (path,) = Path("runs").glob("*/*")
    assert guarded(dispatch, ["evaluate", f"run={path}", "trust=[tests]"]) == 0
    again = configured(read_reference(str(path)), ["trust=[tests]"])
    assert again.job.config["loss"]["token"] == "hush"
    monkeypatch.delenv("UNFOLD_TEST_TOKEN")
    capsys.readouterr()
    assert guarded(dispatch, ["evaluate", f"run={path}", "trust=[tests]"]) == 2
    assert "UNFOLD_TEST_TOKEN" in capsys.readouterr().err


def test_a_missing_variable_is_named(tokens, capsys, monkeypatch):
    monkeypatch.delenv("UNFOLD_TEST_TOKEN")
    assert run(*tokens) == 2
    assert "UNFOLD_TEST_TOKEN" in capsys.readouterr().err
    assert compose(tokens).problems
