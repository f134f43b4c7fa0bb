"""Run directories and options of strangers: nothing outside is written, nothing waits."""

import os
import signal
import subprocess
from contextlib import suppress

import pytest

from tests.config.folder import refusal
from tests.runs.made import make_run
from unfold.cli import reproduce
from unfold.cli.sweeps.pool import run_jobs
from unfold.cli.sweeps.study import Budget, Study
from unfold.config.sweep import Interval, Space
from unfold.errors import ConfigError, RunError, UnfoldError
from unfold.launchers.slurm import Slurm
from unfold.runs.catalogue import catalogue, read_reference
from unfold.runs.directory import Request, claim, move_to_attempts, results_of
from unfold.runs.files import stored_config
from unfold.runs.identity import digest_of
from unfold.runs.processes import Lock, is_held

BOMB = "a: &a [0,0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(autouse=True)
def limit():
    """Ends what waits for a pipe."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(20)
    yield
    signal.alarm(0)


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def outside(path):
    """A link to a folder elsewhere."""
    (path.parents[3] / "elsewhere").mkdir()
    path.symlink_to(path.parents[3] / "elsewhere")


def link(path):
    """A link to a file elsewhere, which holds what must stay."""
    target = path.parents[3] / "precious"
    target.write_text("precious")
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def bomb(path):
    path.write_text(BOMB)


def endless(path):
    path.write_text("a: &a\n  b: *a\n")


PLANTED = {
    "a link as lock": (".lock", link),
    "a pipe as lock": (".lock", pipe),
    "a link as status": ("status.json", link),
    "a pipe as status": ("status.json", pipe),
    "a link as configuration": ("config.yaml", link),
    "a pipe as configuration": ("config.yaml", pipe),
    "a bomb as configuration": ("config.yaml", bomb),
    "an endless configuration": ("config.yaml", endless),
    "a pipe as overrides": ("overrides.yaml", pipe),
    "a bomb as overrides": ("overrides.yaml", bomb),
    "a pipe as provenance": ("provenance.json", pipe),
    "a link as results": ("results.json", link),
    "a pipe as manifest": ("manifest.json", pipe),
    "a link as weights": ("weights.safetensors", link),
    "a pipe as weights": ("weights.safetensors", pipe),
    "a link as curves": ("metrics.csv", link),
    "checkpoints elsewhere": ("checkpoints", outside),
    "an evaluation elsewhere": ("evaluation", outside),
    "evaluations elsewhere": ("evaluations", outside),
    "attempts elsewhere": ("attempts", outside),
    "pictures elsewhere": ("images", outside),
}


@pytest.mark.parametrize("state", ["finished", "running"])
@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_in_a_run_is_not_followed(what, state, tmp_path):
    name, plant = PLANTED[what]
    path = make_run(tmp_path / "runs", "a/b", state=state, scores={"psnr": 1.0})
    plant(path / name)
    if plant not in (bomb, endless):  # files are replaced, whatever they hold
        with pytest.raises(UnfoldError), claim(path):
            pytest.fail("the directory was claimed")
    with pytest.raises(UnfoldError):
        read_reference(str(path))
    (entry,) = catalogue(tmp_path / "runs")  # which does not read the overrides
    assert entry.state == "damaged" or (name, plant, state) == ("overrides.yaml", bomb, "running")
    assert digest_of(str(path), tmp_path / "runs") is None
    with suppress(UnfoldError):
        assert results_of(path) is None
    precious = tmp_path / "precious"
    assert not precious.exists() or precious.read_text() == "precious"
    assert not list((tmp_path / "elsewhere").glob("*"))


def test_rerun_moves_what_is_planted_without_following_it(tmp_path):
    path = make_run(tmp_path / "runs", "a/b")
    link(path / "metrics.csv")
    outside(path / "checkpoints")
    with claim(path, Request(rerun=True)) as run:
        assert run.plan == "new"
    assert (tmp_path / "precious").read_text() == "precious"
    assert (path / "attempts/1/checkpoints").is_symlink()
    assert not list((tmp_path / "elsewhere").glob("*"))


def test_attempts_elsewhere_get_nothing(tmp_path):
    path = make_run(tmp_path / "runs", "a/b")
    outside(path / "attempts")
    with pytest.raises(RunError, match="is a link"):
        move_to_attempts(path)
    assert not list((tmp_path / "elsewhere").glob("*"))


def test_a_lock_never_truncates_another_file(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name, make in (("link", os.symlink), ("name", os.link)):
        make(precious, tmp_path / name)
        with pytest.raises(RunError, match=name):
            Lock(tmp_path / name).acquire()
        with pytest.raises(RunError, match=name):
            is_held(tmp_path / name)
    assert precious.read_text() == "precious"


def test_an_honest_alias_is_read(tmp_path):
    (tmp_path / "config.yaml").write_text("schema_version: 3\na: &a [1]\nb: *a\n")
    assert stored_config(tmp_path)["b"] == [1]


OPTIONS = {
    "a pipe": pipe,
    "a bomb": bomb,
    "endless": endless,
    "a link out": link,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a loop": lambda path: path.symlink_to(path),
    "a large file": lambda path: path.write_text("# " + "x" * 2**21),
}


@pytest.mark.parametrize("what", OPTIONS)
@pytest.mark.parametrize("chosen", [["prior=mine"], []])
def test_a_hostile_folder_of_options_is_refused(what, chosen, tmp_path):
    (tmp_path / "a/b/own/prior").mkdir(parents=True)
    OPTIONS[what](tmp_path / "a/b/own/prior/mine.yaml")
    assert "mine.yaml" in refusal(f"--config-dir={tmp_path}/a/b/own", *chosen)


def test_a_folder_of_options_that_is_elsewhere_is_refused(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "other/prior").mkdir(parents=True)
    (tmp_path / "own/prior").symlink_to(tmp_path / "other/prior")
    assert "a link out of the folder" in refusal(f"--config-dir={tmp_path}/own")


def test_a_link_inside_the_folder_of_options_is_kept(tmp_path):
    (tmp_path / "own/fidelity").mkdir(parents=True)
    (tmp_path / "own/fidelity/one.yaml").write_text("_target_: unfold.fidelities.l2.L2\n")
    (tmp_path / "own/fidelity/two.yaml").symlink_to("one.yaml")
    assert refusal(f"--config-dir={tmp_path}/own", "fidelity=two") == "accepted"


def test_options_three_levels_deep_are_named_where_they_would_be_ignored(tmp_path, configs):
    (configs / "physics/noise").mkdir(exist_ok=True)
    (configs / "physics/noise/gaussian.yaml").touch()
    (tmp_path / "physics/noise").mkdir(parents=True)
    (tmp_path / "physics/noise/gaussian.yaml").write_text("sigma: 0.3\n")
    text = refusal(f"--config-dir={tmp_path}")
    assert "physics/noise/gaussian.yaml: has the name of a packaged option" in text


def test_the_process_of_reproduce_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    for module in ("yaml", "hydra", "filelock", "numpy", "sitecustomize"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'x')\n")
    path = make_run(tmp_path / "runs", "a/b")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":" + os.environ.get("PYTHONPATH", ""))
    started, run = [], subprocess.run
    monkeypatch.setattr(
        reproduce.subprocess,
        "run",
        lambda line, env=None, **_: (
            started.append((line, env)) or subprocess.CompletedProcess([], 1)
        ),
    )
    with pytest.raises(RunError, match="exit code 1"):
        reproduce._repeat(read_reference(str(path)), tmp_path / "new", [])
    ((line, environment),) = started
    line = [*line[: line.index("train")], "no-such-command"]
    done = run(line, env=environment, capture_output=True, text=True, check=False)
    assert "unknown command" in done.stderr, done.stderr
    assert not (tmp_path / "executed").exists()


def test_a_folder_whose_name_is_an_override_is_refused(tmp_path):
    folder = tmp_path / 'x",pkg:' / 'evil,"'
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError, match="has a quote"):
        from unfold.config.compose import compose

        compose([f"--config-dir={folder}"])


def test_the_folder_of_jobs_is_no_link(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs/.jobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link"):
        run_jobs([[]], Slurm(), lambda *_: None, tmp_path / "runs")
    assert not list((tmp_path / "elsewhere").glob("*"))


@pytest.mark.parametrize("planted", [".searches", ".searches/{}", ".searches/{}.sqlite"])
def test_the_database_of_a_search_is_no_link(tmp_path, planted):
    pytest.importorskip("optuna")
    space = Space((), {"optimizer.lr": Interval(1e-4, 1e-2)})
    Study(space, "validation/psnr", str(tmp_path / "runs"), Budget())
    (name,) = (path.stem for path in (tmp_path / "runs/.searches").glob("*.sqlite"))
    place, elsewhere = tmp_path / "runs" / planted.format(name), tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*")), elsewhere.stat().st_mtime_ns
    with pytest.raises(RunError, match=r"is a link, and .* written through"):
        Study(space, "validation/psnr", str(tmp_path / "runs"), Budget())
    assert (sorted(elsewhere.rglob("*")), elsewhere.stat().st_mtime_ns) == before
