"""Trials that learn, are pruned and continue, in one process and in several that share a study."""

import math
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from unfold.cli.sweeps import search as search_module
from unfold.cli.sweeps.search import Trials, budget_of, learn, validations
from unfold.cli.sweeps.study import REDOES, Budget, Study, Trial
from unfold.config.sweep import space_of
from unfold.errors import ConfigError, PreemptedError, SweepError
from unfold.launchers.launcher import LOG, Job, Launcher
from unfold.launchers.parallel import Parallel
from unfold.runs.processes import Lock
from unfold.runs.status import Outcome

WORDS = ["seed=1", "optimizer.lr=tag(log,interval(1e-4,1e-2))", "algo=pgd,admm", "a=range(2,9,2)"]

PROGRAM = """
import json, os
content = {"directory": "there", "scores": {"best validation/psnr": 30.0}, "repeated": False}
path = os.environ["UNFOLD_OUTCOME"]
json.dump(content, open(path + ".part", "w"))
os.replace(path + ".part", path)
"""

SERVER = multiprocessing.get_context("fork")

SCORE = "best validation/psnr"


class Scored(Job):
    """A job that scores −(lg lr + 3)² after some looks at it."""

    def __init__(self, arguments, folder, looks):
        super().__init__(folder)
        rate = next(float(w.partition("=")[2]) for w in arguments if w.startswith("optimizer.lr"))
        self.score, self.looks, self.ended = -((math.log10(rate) + 3) ** 2), looks, False

    @property
    def code(self):
        self.looks -= 1
        return 143 if self.ended else 0 if self.looks < 0 else None

    @property
    def outcome(self):
        return Outcome(self.folder, {SCORE: self.score}, repeated=False)

    def end(self):
        self.ended = True


class Refused(Scored):
    """A job whose run another process writes."""

    code = 6

    def __init__(self, arguments, folder, run):
        super().__init__(arguments, folder, 0)
        (folder / LOG).write_text(f"error: {run} is being written by process 7 on here. Wait.")


class Broken(Scored):
    code = 2

    def __init__(self, arguments, folder):
        super().__init__(arguments, folder, 0)
        (folder / LOG).write_text("error: no such thing.")


@dataclass(frozen=True)
class Scores(Launcher):
    """Starts jobs that score, or what `others` gives for the number of a job."""

    jobs: int = 1
    looks: int = 0
    others: dict = field(default_factory=dict)
    started: list = field(default_factory=list)
    made: list = field(default_factory=list)
    poll = 0.0

    def start(self, arguments, folder, slot):
        self.started.append(tuple(arguments))
        number = len(self.started)
        make = self.others.get(
            number, lambda arguments, folder: Scored(arguments, folder, self.looks)
        )
        self.made.append(make(arguments, folder))
        return self.made[-1]


def study_in(folder, trials=6):
    return Study(space_of(WORDS), "validation/psnr", str(folder), Budget(trials))


def search(folder, trials, launcher):
    """The entries of a search, in this process."""
    study = study_in(folder, trials)
    lead = ["train", "--config-dir=x"]
    return learn(Trials(study, lead, launcher), str(folder))


def states(folder):
    """How many trials are in each state."""
    return Counter(trial.state.name for trial in study_in(folder)._study.get_trials())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr(search_module, "POLL", 0.01)


def test_a_search_learns_and_is_not_repeated(tmp_path, capsys):
    launcher = Scores()
    entries = search(tmp_path, 18, launcher)
    assert len(launcher.started) == 18
    assert launcher.started[0][:3] == ("train", "--config-dir=x", "seed=1")
    assert {word for arguments in launcher.started for word in arguments if word[0] == "a"} <= {
        *("algo=pgd", "algo=admm"),
        *("a=2", "a=4", "a=6", "a=8"),
    }
    scores = [entry.outcome.scores[SCORE] for entry in entries]
    assert sum(scores[-8:]) / 8 > sum(scores[:5]) / 5, "later trials are better than random ones"
    assert search(tmp_path, 18, launcher) == []
    assert "18 trials were made before" in capsys.readouterr().out
    assert len(launcher.started) == 18


def test_an_interrupted_search_chooses_as_one_that_is_not(tmp_path):
    def interrupted(arguments, folder):
        raise PreemptedError("SIGTERM: ended.")

    whole, cut = Scores(), Scores(others={7: interrupted})
    search(tmp_path / "whole", 9, whole)
    with pytest.raises(PreemptedError):
        search(tmp_path / "cut", 9, cut)
    search(tmp_path / "cut", 9, cut)
    assert cut.started[7] == cut.started[6], "the trial that was running resumes its run"
    assert [*cut.started[:7], *cut.started[8:]] == whole.started
    assert states(tmp_path / "cut") == {"COMPLETE": 9, "FAIL": 1}


def test_several_trials_run_at_a_time_at_different_points(tmp_path):
    launcher = Scores(jobs=3, looks=4)
    assert len(search(tmp_path, 11, launcher)) == 11
    assert len(set(launcher.started)) == 11
    assert states(tmp_path) == {"COMPLETE": 11}


def test_an_error_ends_the_jobs(tmp_path):
    def breaks(arguments, folder):
        raise RuntimeError("no disk")

    launcher = Scores(jobs=2, looks=1000, others={2: breaks})
    with pytest.raises(RuntimeError, match="no disk"):
        search(tmp_path, 3, launcher)
    assert launcher.made[0].ended


def test_a_trial_that_fails_takes_a_place_and_is_made_up_for_later(tmp_path):
    launcher = Scores(others={2: Broken, 3: Broken})
    with pytest.raises(SweepError, match="2 of 4 jobs failed"):
        search(tmp_path, 4, launcher)
    assert len(search(tmp_path, 4, launcher)) == 2
    assert states(tmp_path) == {"COMPLETE": 4, "FAIL": 2}


def test_failures_of_all_processes_take_the_places_of_all(tmp_path):
    """Of two processes that began together one is quicker; a later start counts anew."""
    broken = dict.fromkeys(range(1, 20), Broken)
    both = [study_in(tmp_path, 4) for _ in range(2)]
    launchers = [Scores(others=broken) for _ in both]
    failed = []
    for study, launcher in zip(both, launchers, strict=True):
        entries = Trials(study, [], launcher).run(str(tmp_path))
        failed.append(sum(entry.error is not None for entry in entries))
    assert failed == [4, 0]
    assert states(tmp_path) == {"FAIL": 4}
    assert len(search(tmp_path, 4, Scores())) == 4


def test_a_run_without_the_score_is_reported(tmp_path, capsys):
    def silent(arguments, folder):
        job = Scored(arguments, folder, 0)
        job.score = math.nan
        return job

    with pytest.raises(SweepError):
        search(tmp_path, 1, Scores(others={1: silent}))
    assert f"the run has no number '{SCORE}', got nan" in capsys.readouterr().err


def test_a_trial_waits_for_the_process_that_runs_the_same(tmp_path, monkeypatch, capsys):
    lock = Lock(tmp_path / "run/.lock")
    lock.acquire()
    launcher = Scores(
        others={2: lambda arguments, folder: Refused(arguments, folder, tmp_path / "run")}
    )
    naps = []

    def nap(seconds):
        naps.append(len(launcher.started))
        if len(naps) == 20:
            lock.release()

    monkeypatch.setattr("unfold.cli.sweeps.pool.time.sleep", nap)
    entries = search(tmp_path, 3, launcher)
    assert naps[:20].count(2) > 15, "it is not started again before the other one has ended"
    assert [entry.error for entry in entries] == [None] * 3
    assert launcher.started[2] == launcher.started[1]
    assert "waits for the process that runs the same" in capsys.readouterr().out


def test_trials_are_jobs_of_a_launcher(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "program.py")])
    entries = search(tmp_path, 3, Parallel(jobs=2))
    assert [entry.outcome.scores for entry in entries] == [{SCORE: 30.0}] * 3
    assert states(tmp_path) == {"COMPLETE": 3}


def in_child(work):
    """Do some work in another process; returns its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_share_a_study(tmp_path):
    total = 8
    met = SERVER.Barrier(2)

    def take_part(name):
        def first(arguments, folder):
            met.wait(60)  # its trial is asked for, and it ends once the other has one too
            return Scored(arguments, folder, 3)

        launcher = Scores(looks=3, others={1: first})
        search(tmp_path, total, launcher)
        (tmp_path / name).write_text("\n".join(map(str, launcher.started)))

    children = [in_child(lambda name=name: take_part(name)) for name in "ab"]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    parts = [(tmp_path / name).read_text().splitlines() for name in "ab"]
    assert all(parts), "both made some"
    assert len(set(parts[0] + parts[1])) == total, "no point is tried twice"
    assert states(tmp_path) == {"COMPLETE": total}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_living_trial_is_left_alone_and_a_lost_one_is_redone(tmp_path, capsys):
    other = in_child(lambda: search(tmp_path, 5, Scores(looks=10**9)))
    try:
        until = time.monotonic() + 30
        while states(tmp_path)["RUNNING"] == 0:
            assert time.monotonic() < until
            time.sleep(0.05)
        launcher = Scores()
        assert len(search(tmp_path, 5, launcher)) == 4, "the living one counts"
        assert "1 trials still run in other processes" in capsys.readouterr().out
        assert states(tmp_path) == {"COMPLETE": 4, "RUNNING": 1}
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    assert len(search(tmp_path, 5, launcher)) == 1
    lost, *_, redone = study_in(tmp_path)._study.get_trials()
    assert redone.params == lost.params and redone.user_attrs[REDOES] == lost.number
    assert states(tmp_path) == {"COMPLETE": 5, "FAIL": 1}


def test_a_hopeless_trial_is_ended(tmp_path):
    table = "step,loss,validation/psnr\n4,1.0,20.5\n5,1.0,\n8,1.0,1.0\n9,1.0,1"
    assert validations(tmp_path / "metrics.csv", "validation/psnr") == []

    def hopeless(arguments, folder):
        (folder / "metrics.csv").write_text(table)
        return Scored(arguments, folder, 1000)

    def good(arguments, folder):
        (folder / "metrics.csv").write_text(table.replace("1.0", "30.0"))
        return Scored(arguments, folder, 3)

    study = Study(space_of(WORDS), "validation/psnr", str(tmp_path), Budget(3, 2, warmup=1))
    launcher = Scores(others={1: good, 2: good, 3: hopeless})
    entries = Trials(study, [], launcher).run(str(tmp_path))
    assert [entry.remark for entry in entries] == [None, None, "pruned"]
    assert states(tmp_path) == {"COMPLETE": 2, "PRUNED": 1}


@pytest.mark.parametrize(("rows", "hopeless"), [(1, False), (2, False), (3, True)])
def test_no_trial_is_pruned_before_its_warm_up(tmp_path, rows, hopeless):
    study = Study(space_of(WORDS), "validation/psnr", str(tmp_path), Budget(9, 1, warmup=2))
    reports = []
    trial = SimpleNamespace(report=lambda *row: reports.append(row), should_prune=lambda: True)
    measured = [(step, 20.0) for step in range(rows)]
    asked = Trial(trial, {}, Lock(tmp_path / "lock"))
    assert study.is_hopeless(asked, measured, known=0) == hopeless
    assert len(reports) == rows
    assert not study.is_hopeless(asked, measured, known=rows), "nothing new was measured"


def test_without_optuna_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="needs the package optuna: pip install optuna"):
        study_in(tmp_path)
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        (
            "optuna",
            {"sweep.trials": "0"},
            r"sweep\.trials = 0: must be a whole number from 1 to 100000",
        ),
        (
            "optuna",
            {"sweep.warmup": "-1"},
            r"sweep\.warmup = -1: must be a whole number of at least 0",
        ),
        (
            "optuna",
            {"sweep.startup": 0},
            r"sweep\.startup = 0: must be a whole number of at least 1",
        ),
        (
            "optuna",
            {"sweep.tirals": 1},
            r"sweep\.tirals: unknown key, did you mean 'sweep\.trials'",
        ),
        ("random", {"sweep.warmup": 1}, r"sweep\.warmup: unknown key.*Allowed: sweep\.trials"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(method, given, message):
    with pytest.raises(ConfigError, match=message):
        budget_of(method, given)


def test_a_budget_is_read_by_its_keys():
    given = {"sweep.trials": 7, "sweep.startup": "3", "sweep.warmup": 0}
    assert budget_of("optuna", given) == Budget(7, 3, 0)
