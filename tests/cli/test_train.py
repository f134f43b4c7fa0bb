"""The command `train`, from arguments to a run directory, with a training that only takes notes."""

import json
from pathlib import Path

import pytest
import yaml

from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.cli.train import train
from unfold.errors import CheckpointError, NonFiniteError
from unfold.runs import status

BASIC = "hydra/launcher=basic"
"""All jobs in this process, where the stand-ins are."""


def run(*arguments: str) -> int:
    return guarded(train, arguments)


def directories() -> list[Path]:
    return sorted(path.parent for path in Path("runs").glob("*/*/status.json"))


def test_a_run_leaves_everything_needed_to_know_what_it_is(calls, capsys):
    assert run("seed=3", "name=one") == 0
    (directory,) = directories()
    assert directory.parent.name == "pgd-dncnn-motion_blur-one"
    assert status.read(directory).state == "finished"
    assert json.loads((directory / "results.json").read_text()) == {
        "best validation/psnr": 30.0,
        "matched": 31.0,
    }
    config = yaml.safe_load((directory / "config.yaml").read_text())
    assert config["seed"] == 3
    assert "trust" not in config
    assert yaml.safe_load((directory / "overrides.yaml").read_text()) == ["seed=3", "name=one"]
    origin = json.loads((directory / "provenance.json").read_text())
    assert origin["data"] == "images"
    assert origin["choices"]["algo"] == "pgd"
    out = capsys.readouterr().out
    assert "matched" in out
    assert "31" in out


def test_a_finished_run_is_said_to_be_and_its_numbers_are_shown(calls, capsys):
    assert run() == 0
    before = len(calls)
    capsys.readouterr()
    assert run("trainer.progress=false", "logger=none") == 0
    assert len(calls) == before, "nothing was computed"
    out = capsys.readouterr().out
    assert "is finished: nothing to compute. Add rerun=true to repeat it." in " ".join(out.split())
    assert "matched" in out


def test_rerun_repeats_it_in_the_same_place(calls):
    assert run() == 0
    assert run("rerun=true") == 0
    (directory,) = directories()
    assert [call[0] for call in calls] == ["fit", "evaluate"] * 2
    assert (directory / "attempts/1/results.json").exists()


def test_a_failure_is_recorded_and_the_next_start_resumes(calls, capsys):
    calls.fail = NonFiniteError("the loss is nan at step 3.")
    assert run() == 4
    assert capsys.readouterr().err == "error: the loss is nan at step 3.\n"
    (directory,) = directories()
    assert status.read(directory).state == "failed"
    calls.fail = None
    assert run() == 0
    assert calls[1][2] == directory.resolve() / "checkpoints/last.ckpt"
    assert status.read(directory).state == "finished"


def test_bad_images_leave_no_directory(calls, capsys):
    assert run("data.fault=broken.png is cut short") == 3
    assert capsys.readouterr().err == "error: broken.png is cut short\n"
    assert not Path("runs").exists()


def test_a_mistake_leaves_no_directory(calls, capsys):
    assert run("algo=pgdd") == 2
    assert "did you mean 'pgd'?" in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())


def test_what_learns_nothing_is_evaluated_at_once(calls):
    assert run("trainable.learn=[]", "prior=tikhonov") == 0
    assert [call[0] for call in calls] == ["evaluate"]


def test_an_unexpected_error_has_no_traceback_unless_asked_for(calls, capsys, monkeypatch):
    calls.fail = ZeroDivisionError("division by zero")
    assert run() == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in err
    assert "UNFOLD_DEBUG=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv("UNFOLD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run()


def test_a_sweep_runs_every_job_in_a_directory_of_its_own(calls, capsys):
    assert run("-m", BASIC, "algo=pgd,admm", "seed=0,1,1") == 0
    assert len(directories()) == 4
    out = capsys.readouterr().out
    assert "note: 2 points of the sweep are named twice and run once." in out
    assert "algo=admm seed=1" in out


def test_a_job_looks_like_a_single_run_to_what_it_starts(calls):
    assert dispatch(["train", "-m", BASIC, "seed=0,1", "strict=true"]) == 0
    arguments = [call[3] for call in calls if call[0] == "fit"]
    assert arguments == [["train", "seed=0", "strict=true"], ["train", "seed=1", "strict=true"]]


def test_one_failing_job_does_not_cost_the_others(calls, capsys):
    calls.fail = NonFiniteError("the loss is nan.")
    assert run("-m", BASIC, "seed=0,1", "prior=tikhonov", "trainable.learn=[],[algo.stepsize]") == 7
    states = [status.read(directory).state for directory in directories()]
    assert sorted(states) == ["failed", "failed", "finished", "finished"]
    captured = capsys.readouterr()
    assert "2 of 4 jobs failed; the table says why." in captured.err
    assert "the loss is nan." in captured.out


def test_all_jobs_are_checked_before_the_first_starts(calls, capsys):
    assert run("-m", BASIC, "optimizer.lr=1e-3,-1") == 2
    assert calls == []
    assert not Path("runs").exists()


def test_a_sweep_resumes_where_it_stopped(calls):
    assert run("-m", BASIC, "seed=0,1") == 0
    assert run("-m", BASIC, "seed=0,1,2") == 0
    assert [call[0] for call in calls].count("fit") == 3


def test_weights_of_another_run_are_a_start(calls):
    assert run() == 0
    (first,) = directories()
    assert run(f"init_from={first.name}") == 0
    assert calls[2] == ("load", first.name)


def test_the_start_must_exist(calls, capsys):
    assert run("init_from=nothing") == CheckpointError.exit_code
    assert (
        "init_from = nothing: no weights there. run = nothing: no such run"
        in capsys.readouterr().err
    )
