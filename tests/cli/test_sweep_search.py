"""Searches: ranges, draws that repeat themselves, trials that learn, are pruned, continue."""

import math
import sys
from types import SimpleNamespace

import pytest

from unfold.cli import search
from unfold.config.search import Choice, Interval, drawn, search_method, space_of
from unfold.errors import ConfigError, PreemptedError
from unfold.launchers.parallel import Process
from unfold.runs.outcome import Outcome

WORDS = [
    "seed=1",
    "optimizer.lr=tag(log,interval(1e-4,1e-2))",
    "algo=pgd,admm",
    "a=int(interval(2,5))",
]


def test_ranges_are_read_in_the_grammar_of_sweeps():
    space = space_of([*WORDS, "b=range(1,4)", "c=interval(0.5,1)"])
    assert space.fixed == ("seed=1",)
    assert space.domains == {
        "optimizer.lr": Interval(1e-4, 1e-2, log=True),
        "algo": Choice(("pgd", "admm")),
        "a": Interval(2.0, 5.0, whole=True),
        "b": Choice(("1", "2", "3")),
        "c": Interval(0.5, 1.0),
    }
    assert search_method(["-m", "sweep=random"]) == "random"
    assert search_method(["sweep=optuna"]) is None


@pytest.mark.parametrize(
    ("word", "message"),
    [("seed=1", "A search needs a range"), ("a=tag(log,interval(0,1))", "be positive with a log")],
)
def test_ranges_that_cannot_be_meant_are_refused(word, message):
    with pytest.raises(ConfigError, match=message):
        space_of([word])


def test_draws_depend_on_the_seed_and_the_trial_alone():
    space = space_of(WORDS)
    trials = [drawn(space, 0, i) for i in range(2000)]
    assert trials[7] == drawn(space, 0, 7) != drawn(space, 1, 7)
    rates = [math.log10(float(trial["optimizer.lr"])) for trial in trials]
    assert -4 <= min(rates) < -3.99 and -2.01 < max(rates) <= -2
    assert abs(sum(rates) / len(rates) + 3) < 0.05, "uniform in the logarithm"
    assert {trial["a"] for trial in trials} == {"2", "3", "4", "5"}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study whose trials score −(lg lr + 3)² at once; gives its maker and the jobs it started."""
    pytest.importorskip("optuna")
    started = []

    class Job(Process):
        code = 0
        outcome = None
        stop = None

        def __init__(self, words, folder):
            started.append(words)
            if len(started) == Job.stop:
                raise PreemptedError("SIGTERM: ended.")
            rate = next(float(w.partition("=")[2]) for w in words if w.startswith("optimizer.lr"))
            score = -((math.log10(rate) + 3) ** 2)
            self.outcome = Outcome(tmp_path, {"best validation/psnr": score}, repeated=False)

        def end(self):
            pass

    monkeypatch.setattr(search, "Process", Job)
    space = space_of(WORDS)

    def make():
        lead = ["train", "--config-dir=x"]
        return search.Study(space, lead, "validation/psnr", str(tmp_path))

    return make, started, Job


def test_a_search_learns_and_is_not_repeated(study, capsys):
    make, started, _ = study
    entries = make().run(25)
    assert len(started) == 25 and started[0][:3] == ["train", "--config-dir=x", "seed=1"]
    scores = [entry.outcome.scores["best validation/psnr"] for entry in entries]
    assert sum(scores[-8:]) > sum(scores[:5]) / 5 * 8, "later trials are better than random ones"
    assert make().run(25) == []
    assert "25 trials were made before" in capsys.readouterr().out
    assert len(started) == 25


def test_an_interrupted_search_takes_its_trial_up_again(study):
    make, started, job = study
    job.stop = 4
    with pytest.raises(PreemptedError):
        make().run(6)
    make().run(6)
    assert started[4] == started[3], "the trial that was running goes on in its run directory"
    assert len(started) == 7


def test_without_optuna_the_remedy_is_said(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="needs the package optuna: pip install optuna"):
        study[0]()


def test_a_hopeless_trial_is_ended(tmp_path):
    table = "step,loss,validation/psnr\n4,1.0,20.5\n5,1.0,\n8,1.0,19.0\n9,1.0,1"
    (tmp_path / "metrics.csv").write_text(table)
    assert search.validations(tmp_path / "metrics.csv", "validation/psnr") == [(4, 20.5), (8, 19.0)]
    reports, ended = [], []
    trial = SimpleNamespace(
        report=lambda value, step: reports.append((step, value)), should_prune=lambda: True
    )

    class Running(Process):
        code = None
        outcome = Outcome(tmp_path, {}, repeated=False)

        def __init__(self):
            pass

        def end(self):
            ended.append(True)
            self.code = 143

    study = SimpleNamespace(_objective="validation/psnr")
    assert search.Study._watch(study, trial, Running())
    assert reports == [(4, 20.5), (8, 19.0)] and ended == [True]
