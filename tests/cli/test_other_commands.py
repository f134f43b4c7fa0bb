"""`unfold evaluate`, `unfold reconstruct`, and the help."""

from pathlib import Path

import pytest

from tests.runs.made import make_run, sealed
from unfold.cli.console import guarded
from unfold.cli.main import COMMANDS, dispatch
from unfold.errors import RunError


def run(*arguments: str) -> int:
    return guarded(dispatch, arguments)


def trained() -> str:
    assert run("train", "seed=5") == 0
    (path,) = Path("runs").glob("*/*")
    return str(path)


def test_evaluate_uses_the_run_with_what_is_changed(calls):
    directory = trained()
    calls.clear()
    assert run("evaluate", f"run={directory}", "physics.noise.sigma=0.3") == 0
    (other,) = Path(directory).glob("evaluations/auto-motion_blur-*")
    assert calls == [("load", Path(directory).name), ("evaluate", other.name, "motion_blur", 5)]


def bytes_of(directory):
    return {
        path: path.read_bytes()
        for path in Path(directory).rglob("*")
        if path.is_file() and path.name != ".lock" and "evaluations" not in path.parts
    }


@pytest.mark.parametrize(
    "override", ["physics.noise.sigma=0.3", "metrics.border=2", "metrics.data_range=2", "seed=6"]
)
def test_an_evaluation_leaves_the_run_as_it_is_and_has_a_name(calls, capsys, override):
    directory = trained()
    before = bytes_of(directory)
    assert run("evaluate", f"run={directory}", override) == 0
    assert bytes_of(directory) == before
    (other,) = Path(directory).glob("evaluations/*")
    calls.clear()
    capsys.readouterr()
    assert run("evaluate", f"run={directory}", override) == 0
    assert calls == [] and f"was evaluated so before: {other}" in capsys.readouterr().out
    assert run("show", directory) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{other}, finished: " in out and override in out
    assert run("show", str(other)) == 0
    (other / "results.json").write_text("{}")
    assert run("evaluate", f"run={directory}", override) == RunError.exit_code
    assert "results.json was changed" in capsys.readouterr().err
    assert run("evaluate", f"run={directory}", override, "rerun=true") == 0
    assert bytes_of(directory) == before


def test_the_evaluation_of_the_run_itself_is_compared_and_not_made_again(calls, capsys):
    directory = trained()
    before = bytes_of(directory)
    calls.clear()
    assert run("evaluate", f"run={directory}") == 0
    assert calls == [] and "made this evaluation itself" in capsys.readouterr().out
    assert bytes_of(directory) == before and not (Path(directory) / "evaluations").exists()


def test_other_images_are_another_evaluation(calls, monkeypatch):
    directory = trained()
    before = bytes_of(directory)
    monkeypatch.setattr("tests.cli.conftest.Images.fingerprint", lambda self: "others")
    assert run("evaluate", f"run={directory}") == 0
    assert bytes_of(directory) == before and len(list(Path(directory).glob("evaluations/*"))) == 1


def test_evaluate_takes_the_saved_configuration_not_todays(calls, configs):
    directory = trained()
    (configs / "algo/pgd.yaml").write_text("_target_: unfold.algorithms.pgd.PGD\nstepsize: -5\n")
    assert run("evaluate", f"run={directory}") == 0
    assert run("evaluate", f"run={directory}", "algo.stepsize=-2") == 2


def test_evaluate_trusts_nobody_that_the_run_trusted(calls, capsys):
    directory = trained()
    path = Path(directory) / "config.yaml"
    path.write_text(path.read_text().replace("unfold.algorithms.pgd.PGD", "stranger.Evil"))
    (Path(directory) / "overrides.yaml").write_text("['trust=[stranger]', 'seed=5']")
    sealed(Path(directory))
    assert run("evaluate", f"run={directory}") == 2
    assert "algo._target_ = stranger.Evil: is not a component" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "unfold evaluate needs a run. Write unfold evaluate run=DIR."),
        (["evaluate", "run=nowhere"], "run = nowhere: no such run"),
        (["evaluate", "run="], "run=: give run once, with a value."),
        (["reconstruct", "run=x"], "unfold reconstruct needs one file: input=IMAGE"),
        (["reconstruct", "run=x", "input=no.png"], "input = no.png: there is no such file."),
        (["trian"], "unknown command 'trian', did you mean 'train'? Allowed: "),
    ],
)
def test_what_is_missing_is_said(calls, capsys, arguments, message):
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_reconstruct_says_where_the_image_is(calls, capsys):
    directory = trained()
    Path("photo.png").write_bytes(b"")
    assert run("reconstruct", f"run={directory}", "input=photo.png") == 0
    assert "wrote photo_reconstructed.png" in capsys.readouterr().out
    assert run("reconstruct", f"run={directory}", "input=photo.png", "output=photo.gif") == 2
    assert "output = photo.gif: no such kind of file" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], [], ["train", "--help"], ["train", "-h"]])
def test_help_lists_the_options(calls, capsys, arguments):
    assert run(*arguments) == 0
    out = capsys.readouterr().out
    assert "algo        admm pgd" in out
    assert "trainer     ddp ddp_cpu default" in out


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_each_command_has_its_own_help(capsys, command):
    assert run(command, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: unfold {command} ") and "-h, --help" in out


def test_a_configuration_can_be_looked_at(calls, capsys):
    assert run("train", "--cfg", "job", "-p", "algo", "algo.stepsize=0.3") == 0
    assert "stepsize: 0.3" in capsys.readouterr().out
    assert run("train", "--cfg", "job", "algo=pgdd") == 2
    assert "algo = pgdd: no such option, did you mean 'pgd'?" in capsys.readouterr().err


def test_a_strict_evaluation_is_not_one_that_was_lax(calls, capsys):
    assert run("train", "seed=5") == 0
    given = ("evaluate", f"run={calls[0][1]}", "physics.noise.sigma=0.3")
    assert run(*given) == run(*given) == 0
    assert run(*given, "strict=true") == 2
    assert "strict (false there, true asked for)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=0.5",
        "trainer.max_steps=7",
        "objective=validation/ssim",
        "scheduler=constant",
        "extend=x",
    ],
)
@pytest.mark.parametrize("other", [(), ("physics.noise.sigma=0.3",)])
def test_what_is_part_of_training_is_not_changed_by_an_evaluation(calls, capsys, override, other):
    directory = trained()
    assert run("evaluate", f"run={directory}", *other) == 0
    assert run("evaluate", f"run={directory}", *other, override) == 2
    said = capsys.readouterr().err
    assert "is part of the training" in said and override.partition("=")[0] in said
    assert "An evaluation may change algo, data, " in said and "another run" not in said


def test_where_an_evaluation_runs_makes_no_other_one_of_it(calls, capsys):
    given = ("evaluate", f"run={trained()}", "physics.noise.sigma=0.3")
    assert run(*given) == run(*given, "trainer.threads=1", "trainer.accelerator=cpu") == 0
    assert "was evaluated so before" in capsys.readouterr().out


def test_an_evaluation_trusts_by_its_own_command_each_time(calls, tmp_path, capsys):
    (tmp_path / "solo.py").write_text("")
    given = ("evaluate", f"run={trained()}", "physics.noise.sigma=0.3", "trust=[solo]")
    assert run(*given) == run(*given) == 0
    assert "was evaluated so before" in capsys.readouterr().out
    assert run(*given, "trust=[solo]") == 2
    assert "trust: given 2 times ([solo], [solo]). Give it once." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results.json", "config.yaml", "status.json", "provenance.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", None])
def test_a_damaged_evaluation_is_shown_as_damaged(calls, capsys, name, content):
    directory = trained()
    assert run("evaluate", f"run={directory}", "physics.noise.sigma=0.3") == 0
    (other,) = Path(directory).glob("evaluations/*")
    (other / name).unlink()
    if content is not None:
        (other / name).write_bytes(content)
    capsys.readouterr()
    assert run("show", directory) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{other}, damaged: " in said and "note: " in said


@pytest.mark.parametrize("place", ["photo.png", "new/photo.png", "evaluation/photo.png"])
def test_reconstruct_writes_nothing_into_a_finished_run(calls, capsys, place):
    directory = Path(trained())
    Path("photo.png").write_bytes(b"")
    before = sorted(directory.rglob("*"))
    given = ("reconstruct", f"run={directory}", "input=photo.png", f"output={directory / place}")
    assert run(*given) == 2
    assert "is a finished run, which its seal keeps as it is" in capsys.readouterr().err
    assert sorted(directory.rglob("*")) == before


@pytest.mark.parametrize("state", ["running", "finished"])
def test_a_table_over_a_key_that_no_run_has_names_it(tmp_path, capsys, state):
    make_run(tmp_path, "pgd/g1", state=state, scores={"test/psnr": 30.0})  # running: killed
    assert run("table", "--rows", "nonsense", f"runs_dir={tmp_path}") == 2
    assert "nonsense" in capsys.readouterr().err
