"""The commands about runs: list, show, diff, table, and reproduce."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.runs.made import make_run, sealed
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.cli.reproduce import repeated_arguments, verdict
from unfold.cli.runs import runs_table
from unfold.cli.train import train
from unfold.errors import ConfigError, RunError
from unfold.runs import files
from unfold.runs.catalogue import read_reference
from unfold.runs.compare import differences
from unfold.training.checkpoints.weights import read_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    make_run(runs, "pgd/g1", scores={"best validation/psnr": 30.0, "test/psnr": 29.0})
    make_run(runs, "pgd/g2", seed=1, scores={"test/psnr": 31.0})
    return runs


def test_runs_are_listed_shown_and_compared(two, capsys):
    assert dispatch(["list"]) == 0
    out = capsys.readouterr().out
    assert "pgd/g1 │ finished │     30, 29" in out
    assert out.count("seed=0") == out.count("seed=1") == 1, "what differs, once"
    assert dispatch(["show", "pgd/g1"]) == 0
    out = capsys.readouterr().out
    assert "algo        pgd" in out and "commit abc" in out and "one, 2 threads" in out
    assert dispatch(["diff", "g1", "g2"]) == 0
    out = capsys.readouterr().out
    assert "code: the same" in out and "environment: the same" in out
    assert "seed" in out and "29.0" in out and "31.0" in out


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((28.134512345678901, 28.4), ("28.13", "28.4")),
        ((28.123456789, 28.123457789), ("28.123457", "28.123458")),
        ((0.1, np.nextafter(0.1, 1).item()), ("0.1", "0.10000000000000002")),
        ((3.1622776601683794e-05, 1), ("3.162e-05", "1")),
        ((1.0000000001, 1), ("1.0000000001", "1")),
        ((31.415926535897931, "-"), ("31.42", "-")),
        ((True, "a.b"), ("True", "a.b")),
    ],
)
def test_differences_have_as_many_digits_as_tell_them_apart(values, texts):
    (found,) = differences({"key": values[0]}, {"key": values[1]})
    assert (found.one, found.other) == texts


def test_the_table_has_its_formats(two, capsys):
    assert dispatch(["table", "pgd*", "--rows", "algo", "--cols=physics", "--format=csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "pgd,motion_blur,30.0,,2"
    assert dispatch(["table"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "30.00 (2)" in out and "mean (runs; ± from three on)" in out
    make_run(two, "pgd/g3", seed=2, scores={"test/psnr": 30.0})
    assert dispatch(["table"]) == 0
    assert "30.00 ± 1.00 (3)" in capsys.readouterr().out


def test_small_figures_keep_their_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs", "pgd/g1", scores={"test/nmse": 0.0021349, "test/ssim": 0.78125})
    for form in ("terminal", "markdown", "latex"):
        for value, text in (("nmse", "0.002135"), ("ssim", "0.7812")):
            assert dispatch(["table", "--value", value, "--format", form]) == 0
            assert text in capsys.readouterr().out


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv"])
def test_every_form_says_what_is_shown_and_what_is_not(two, capsys, form):
    make_run(two, "pgd/g3", scores={"best validation/psnr": 35.0})
    make_run(two, "pgd/g4", scores={"test/psnr": 31.0}, optimizer={"lr": 0.1})
    assert dispatch(["table", "runs/**", f"runs_dir={two}", "--format", form]) == 0
    out, err = capsys.readouterr()
    assert "test/psnr" in out
    notes = " ".join((out if form == "terminal" else err).split())
    assert "note: runs of one cell differ in more than the seed: optimizer.lr." in notes
    assert "note: left out, without test/psnr (1): pgd/g3." in notes
    assert form == "terminal" or "note" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "a", "b"], "takes one pattern, got a b"),
        (["list", "seed=1"], "seed=1: unfold list takes only runs_dir=DIR"),
        (["show"], "needs one run, unfold show RUN, got nothing"),
        (["show", "pgd/g3"], "no such run, did you mean 'pgd/g"),
        (["diff", "g1"], "needs two runs, unfold diff A B, got g1"),
        (["table", "--row", "algo"], "--row: unknown flag, did you mean '--rows'? Allowed:"),
        (["table", "--rows"], "--rows: give it a value"),
        (["table", "--format", "html"], "Allowed: csv, latex, markdown, md, terminal"),
    ],
)
def test_mistakes_are_explained(two, capsys, arguments, message):
    assert guarded(dispatch, arguments) == 2
    assert message in capsys.readouterr().err


def test_other_weights_under_the_same_name_are_another_run(calls, capsys):
    assert guarded(train, ["name=first"]) == 0
    (first,) = Path("runs").glob("pgd-dncnn-motion_blur-first/*")
    arguments = ["name=second", f"init_from={first.name}"]
    for content in ("one", "two"):
        (first / "weights.safetensors").write_text(content)
        sealed(first)
        capsys.readouterr()
        assert guarded(train, arguments) == 0
        out = capsys.readouterr().out
        assert "nothing to compute" not in out
        assert f"every weight starts from {first.name}" in out and "at random" not in out
    assert len(list(Path("runs").glob("pgd-dncnn-motion_blur-second/*"))) == 2
    assert guarded(train, arguments) == 0
    assert "nothing to compute" in capsys.readouterr().out


def test_the_same_command_does_not_take_up_an_older_run(calls, capsys):
    assert guarded(train, []) == 0
    (path,) = Path("runs").glob("*/*")
    config = files.read_yaml(path / "config.yaml")
    files.write_yaml(path / "config.yaml", config | {"schema_version": 2})
    before = {f: f.stat().st_mtime_ns for f in path.rglob("*")}
    for overrides in ([], ["rerun=true"]):
        assert guarded(train, overrides) == 2
        assert "/config.yaml: schema_version = 2" in capsys.readouterr().err
    assert {f: f.stat().st_mtime_ns for f in path.rglob("*")} == before


def test_only_finished_runs_are_reproduced(two, capsys):
    make_run(two, "pgd/g4", state="running")
    assert guarded(dispatch, ["reproduce", "g4"]) == 2
    assert "is killed: only a finished run is repeated" in capsys.readouterr().err


def test_a_run_brings_its_words_but_not_its_trust(two):
    path = make_run(two, "pgd/g5", init_from="g1", runs_dir=str(two))
    arguments = ["seed=3", "runs_dir=x", "rerun=true", "trust=[evil]", "init_from=g1"]
    arguments += ["prior.weights=pgd/g2", "accept_code=true"]
    (path / "overrides.yaml").write_text(yaml.safe_dump(arguments))
    sealed(path)
    weights = f"prior.weights={two.resolve() / 'pgd/g2'}"
    start = f"init_from={two.resolve() / 'pgd/g1'}"
    assert repeated_arguments(read_reference("g5", two)) == ["seed=3", start, weights]
    assert repeated_arguments(read_reference("g5", two), ["seed=4"]) == [start, weights]


@pytest.fixture
def own(calls, tmp_path):
    """A run made with an option of the user's own."""
    folder = tmp_path / "mine"
    (folder / "algo").mkdir(parents=True)
    (folder / "algo/slow.yaml").write_text("_target_: unfold.algorithms.pgd.PGD\nstepsize: 0.1\n")
    assert guarded(train, ["--config-dir", str(folder), "algo=slow"]) == 0
    (run,) = Path("runs").glob("slow-*/*")
    return run, folder


def test_a_run_finds_its_own_options_again(own, capsys, tmp_path):
    run, folder = own
    assert guarded(dispatch, ["evaluate", f"run={run}"]) == 0
    assert repeated_arguments(read_reference(str(run))) == [f"--config-dir={folder}", "algo=slow"]
    moved = folder.rename(tmp_path / "elsewhere")
    capsys.readouterr()
    for arguments in (["evaluate", f"run={run}"], ["reproduce", str(run)]):
        assert guarded(dispatch, arguments) == 2
        err = " ".join(capsys.readouterr().err.split())
        assert f"was made with --config-dir {folder}, which is gone" in err
    assert guarded(dispatch, ["evaluate", f"run={run}", "--config-dir", str(moved)]) == 0
    given = [f"--config-dir={moved}"]
    assert repeated_arguments(read_reference(str(run)), given) == ["algo=slow"]


def test_a_repetition_hands_on_the_folder_that_is_given(own, monkeypatch, tmp_path):
    run, folder = own
    started = []

    def start(command, check, env):
        started.append(command[4:])
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr("unfold.cli.reproduce.subprocess.run", start)
    assert guarded(dispatch, ["reproduce", str(run)]) == RunError.exit_code
    assert (
        guarded(dispatch, ["reproduce", str(run), "--config-dir", str(tmp_path)])
        == RunError.exit_code
    )
    assert [arguments[:2] for arguments in started] == [
        [f"--config-dir={folder}", "algo=slow"],
        ["algo=slow", f"--config-dir={tmp_path}"],
    ]


def test_a_secret_is_asked_for_again_where_it_has_no_place(two, capsys):
    path = make_run(two, "pgd/g6")
    (path / "overrides.yaml").write_text(yaml.safe_dump(["logger.token=<redacted>", "seed=1"]))
    sealed(path)
    with pytest.raises(ConfigError, match=r"logger\.token is secret and was not kept\. Give it"):
        repeated_arguments(read_reference("g6", two))
    assert repeated_arguments(read_reference("g6", two), ["logger.token=new"]) == ["seed=1"]


@pytest.mark.parametrize(
    ("machine", "psnr", "code", "said"),
    [
        ({}, 30.0, 1, "on the same platform every bit must be the same"),
        ({"threads": 4}, 30.04, 0, "threads: 2 then, 4 now reproduced: 0 figures differ by more"),
        ({"torch": "3"}, 30.06, 1, "test/psnr = 30.0 then, 30.06 now not reproduced: 1 figures"),
        ({"capability": "AVX2"}, 30.0, 0, "capability: AVX512 then, AVX2 now"),
    ],
)
def test_another_platform_is_given_a_tolerance(two, capsys, machine, psnr, code, said):
    first = {"torch": "2", "capability": "AVX512"}
    for name, own, score in (("a", first, 30.0), ("b", first | machine, psnr)):
        path = make_run(two, f"pgd/{name}", scores={"test/psnr": score, "steps": 3.0})
        (path / "weights.safetensors").write_text(name)
        origin = files.read_json(path / "provenance.json")
        origin["machine"] |= own
        files.write_json(path / "provenance.json", origin)
    assert verdict(two / "pgd/a", two / "pgd/b") == code
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_run_is_reproduced_to_the_bit_and_a_changed_one_is_not(tmp_path, capsys, monkeypatch):
    small = """
    evaluation=none data.crop=16 data.batch_size=4 prior.weights=null prior.denoiser.depth=2
    prior.denoiser.width=8 model.iterations=2 trainer.max_steps=3 trainer.threads=1
    trainer.progress=false trainer.log_every=1
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert guarded(train, [*small.split(), f"runs_dir={tmp_path}"]) == 0
    (path,) = [status.parent for status in tmp_path.glob("*/*/status.json")]
    assert guarded(dispatch, ["reproduce", str(path)]) == 0  # in a process of its own
    assert "have the same bytes" in " ".join(capsys.readouterr().out.split())
    changed = tmp_path / "changed"
    shutil.copytree(path, changed)
    weights = read_weights(path)
    name = next(iter(weights))
    weights[name] = torch.nextafter(weights[name], torch.tensor(9.0))
    save_file(weights, changed / "weights.safetensors")
    assert verdict(path, changed) == 1
    out = capsys.readouterr().out
    assert "not reproduced to the bit: weights.safetensors differ" in out
    assert "configuration: the same" in out


def test_a_table_of_runs_that_do_not_exist_says_what_there_is(two):
    with pytest.raises(
        ConfigError, match=r"--where seed=7: no run has it; they have seed=0, seed=1"
    ):
        runs_table(["--where", "seed=7"])
    with pytest.raises(
        ConfigError, match=r"psnr, seconds.* an evaluation, as are costs and several"
    ):
        runs_table(["--value", "psnr,seconds"])
