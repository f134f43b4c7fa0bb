"""A finished run is sealed: a file that is deleted, truncated, edited or another run's is named."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.runs.made import make_run, sealed
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.cli.train import train
from unfold.errors import RunError
from unfold.runs.catalogue import catalogue, read_reference
from unfold.runs.compare import platform_differences

DAMAGES = {
    "deleted": lambda path, other: path.unlink(),
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path, other: path.write_bytes(b""),
    "edited": lambda path, other: path.write_bytes(path.read_bytes().replace(b"0", b"1", 1) + b" "),
    "swapped": lambda path, other: shutil.copyfile(other, path),
}


@pytest.fixture
def two(calls, monkeypatch):
    """Two finished runs with weights, checkpoints and rows, as the command makes them."""
    fit = sys.modules["unfold.training.fit"].fit

    def writes(*parts, **more):
        directory = parts[4]
        (directory / "checkpoints").mkdir()
        for name in ("weights.safetensors", "checkpoints/best.ckpt", "metrics.csv"):
            (directory / name).write_text(f"0 {directory.name} {name}")
        fit(*parts, **more)
        return {"best validation/psnr": float(int(directory.name[1:], 16))}

    monkeypatch.setattr("unfold.training.fit.fit", writes)
    assert guarded(train, ["seed=1"]) == guarded(train, ["seed=2"]) == 0
    first, second = (next(Path("runs").glob(f"*/{call[1]}")) for call in calls[::2])
    return first, second


def files_of(run):
    kept = (path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    return sorted(str(path.relative_to(run)) for path in kept)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_named_by_every_command(two, capsys, damage, tmp_path):
    run, other = two
    names = files_of(run)
    assert len(names) == 10
    kept = shutil.copytree(run, tmp_path / "kept" / run.name)
    commands = [["show", str(run)], ["reproduce", str(run)]]
    if (
        damage == "edited"
    ):  # what is wrong is found in one place: composing takes a third of a second
        commands.append(["train", "seed=1"])
    for name in names:
        DAMAGES[damage](run / name, other / name)
        for command in commands:
            capsys.readouterr()
            code = guarded(dispatch, command)
            err = capsys.readouterr().err
            assert code not in (0, 1), (name, command)
            assert Path(name).name in err and "rerun=true" in err, (name, command, err)
        shutil.copyfile(kept / name, run / name)
    assert guarded(dispatch, ["show", str(run)]) == 0
    assert guarded(train, ["seed=1"]) == 0
    assert "nothing to compute" in capsys.readouterr().out


def test_a_status_alone_is_no_finished_run_and_the_remedy_works(two, capsys):
    run, _ = two
    for name in files_of(run):
        if name != "status.json":
            (run / name).unlink()
    assert guarded(train, ["seed=1"]) == RunError.exit_code
    assert "manifest.json is missing" in capsys.readouterr().err
    assert guarded(train, ["seed=1", "rerun=true"]) == 0
    assert guarded(dispatch, ["show", str(run)]) == 0


@pytest.mark.parametrize("name", ["status.json", "config.yaml", "provenance.json", "results.json"])
@pytest.mark.parametrize(
    "content", [b"", b"[", b"[]", b"{}", b"\xff", b'{"state": 3}', b"[" * 5000]
)
def test_one_damaged_run_hides_no_other_and_its_remedy_works(two, capsys, name, content):
    run, other = two
    if name == "config.yaml" and content in (b"{}", b'{"state": 3}'):
        content = b"3"  # would be a configuration of an earlier version
    (run / name).write_bytes(content)
    assert guarded(dispatch, ["list"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{other.parent.name}/{other.name} │ finished" in out
    assert f"{run.parent.name}/{run.name} │ damaged" in out
    assert f"note: {run.parent.name}/{run.name}: " in out and name in out
    assert guarded(dispatch, ["table", "--value", "matched"]) == 0
    assert "31.00" in (out := capsys.readouterr().out) and "left out, damaged: " in out
    assert guarded(train, ["seed=1", "rerun=true"]) == 0
    assert {entry.state for entry in catalogue(Path("runs"))} == {"finished"}


def test_a_whole_run_under_the_name_of_another_is_refused(tmp_path):
    one, other = (make_run(tmp_path, f"pgd/{n}", scores={"psnr": float(n)}) for n in (1, 2))
    shutil.rmtree(one)
    shutil.copytree(other, one)
    with pytest.raises(RunError, match="its files are those of 2"):
        read_reference(str(one))


@pytest.mark.parametrize("name", ["notes.txt", "evaluation/more.csv", "checkpoints/best.ckpt"])
def test_a_file_that_was_added_is_named(two, capsys, name):
    run, _ = two
    (run / name).unlink(missing_ok=True)
    sealed(run)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("mine")
    for command in (["show", str(run)], ["reproduce", str(run)]):
        capsys.readouterr()
        assert guarded(dispatch, command) == RunError.exit_code
        assert f"{name} was added" in capsys.readouterr().err
    (run / name).unlink()
    for own in ("tensorboard/events.1", "mlruns/1", "mlflow.json", "wandb/1", "evaluations/a/b"):
        (run / own).parent.mkdir(parents=True, exist_ok=True)
        (run / own).write_text("of a logger, or of another evaluation")
    read_reference(str(run))


def test_results_that_were_added_are_not_read(tmp_path):
    path = make_run(tmp_path, "pgd/1")
    (path / "results.json").write_text(json.dumps({"psnr": 99.0}))
    assert [entry.state for entry in catalogue(tmp_path)] == ["damaged"]


ODD = (
    {"packages": None}, {"packages": {"torch": [1]}}, {"packages": {"torch": None}},
    {"machine": {}}, {"machine": {"gpus": 3}}, {"machine": {"gpus": None, "cpu": []}},
    {"machine": {"gpus": [1], "threads": {}}}, {"attempts": [{"machine": "x"}]},
    {"attempts": [{"machine": None, "packages": 3}]}, {"attempts": [{"packages": []}]},
    {"attempts": [{}]}, {"sources": 3}, {"build": 3}, {"weights": []}, {"seed": {}},
)  # fmt: skip


@pytest.mark.parametrize("value", [*ODD, "machine", "packages", "sources", "seed", "data", "git"])
def test_no_record_of_a_sealed_run_ends_a_command_unexpectedly(tmp_path, capsys, value):
    make_run(tmp_path, "pgd/1", scores={"psnr": 31.0})
    odd = make_run(tmp_path, "pgd/2", scores={"psnr": None})
    content = json.loads((odd / "provenance.json").read_text())
    if isinstance(value, str):
        del content[value]
    else:
        content |= value
    (odd / "provenance.json").write_text(json.dumps(content))
    sealed(odd)
    where = f"runs_dir={tmp_path}"
    for words in (["list"], ["table"], ["show", "pgd/2"], ["diff", "pgd/1", "pgd/2"]):
        assert guarded(dispatch, [*words, where]) in (0, 2, RunError.exit_code), words
        assert "unexpected" not in capsys.readouterr().err
    with suppress(RunError):
        platform_differences(tmp_path / "pgd/1", odd)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("results.json", "psnr", value) for value in ("30", [1], 10**400, True, {})),
        *(("provenance.json", key, value) for key, value in (("choices", ["a"]), ("folders", 3))),
        *(("provenance.json", key, value) for key, value in (("pixels", None), ("git", "abc"))),
        *(("provenance.json", key, value) for key, value in (("attempts", "x"), ("attempts", [1]))),
        *(("provenance.json", key, value) for key, value in (("packages", []), ("machine", None))),
    ],
)
def test_a_sealed_run_of_odd_values_hides_no_other(tmp_path, capsys, name, key, value):
    make_run(tmp_path, "pgd/1", scores={"psnr": 31.0})
    odd = make_run(tmp_path, "pgd/2", scores={"psnr": None})
    content = json.loads((odd / name).read_text())
    (odd / name).write_text(json.dumps({**content, key: value}))
    sealed(odd)
    where = f"runs_dir={tmp_path}"
    assert guarded(dispatch, ["list", where]) == 0
    assert f"{name} is damaged" in " ".join(capsys.readouterr().out.split())
    assert guarded(dispatch, ["table", where]) == 0
    assert "31.00" in capsys.readouterr().out
    for words in (["show", "pgd/2"], ["diff", "pgd/1", "pgd/2"]):
        assert guarded(dispatch, [*words, where]) == RunError.exit_code
