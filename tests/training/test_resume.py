"""A training killed at any moment resumes, and ends bit-identical to an uninterrupted one."""

import os
import signal

import pytest
import torch

from tests.training.small import KilledError, killed_at, run, run_with_kills, small_training
from unfold.errors import InterruptedRunError, PreemptedError
from unfold.training.checkpoints import signals as stopping
from unfold.training.checkpoints.checksum import LAST, PREVIOUS, newest_checkpoint
from unfold.training.checkpoints.signals import (
    ERRORS,
    HungUpError,
    StopRequest,
    WarnedError,
    raising_signals,
)
from unfold.training.checkpoints.weights import read_checkpoint, read_weights

STEPS = 10
"""Two epochs of 4 steps and a half."""


def flat(state, name=""):
    """Every value of a nested state, by its path."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            yield from flat(value, f"{name}/{key}")
        else:
            yield f"{name}/{key}", value


def same(one, other):
    """Whether two runs left the same bits: states, weights and curves."""
    states = [dict(flat(read_checkpoint(d / "checkpoints" / LAST))) for d in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        equal = torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
        assert equal(value, states[1][name]), name
    weights = [read_weights(d) for d in (one, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    return True


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """An uninterrupted run and its scores."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    return directory, run(directory, steps=STEPS, checkpoint_every=1)[1]


@pytest.mark.parametrize(
    ("every", "kills"),
    [
        (1, [4, 4, 7, 8]),
        (2, [5, 9]),
        (3, [0, 2, 8]),
        (4, [4, 8]),
        (100, [6]),
    ],
)
def test_killed_runs_resume_bit_identically(tmp_path, uninterrupted, every, kills):
    directory, scores = uninterrupted
    again = run_with_kills(tmp_path, kills, steps=STEPS, checkpoint_every=every)[1]
    assert again == scores
    assert same(directory, tmp_path)


def test_the_curves_have_each_step_once(uninterrupted):
    lines = (uninterrupted[0] / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", *map(str, range(STEPS + 1))]


def test_partially_accumulated_gradients_are_not_saved(tmp_path):
    settings = {"steps": 5, "accumulate": 2, "checkpoint_every": 1}
    scores = run(tmp_path / "uninterrupted", **settings)[1]
    assert run_with_kills(tmp_path / "cut", [1, 2, 4], **settings)[1] == scores
    assert same(tmp_path / "uninterrupted", tmp_path / "cut")


def test_epochs_without_validation_are_resumed_too(tmp_path):
    settings = {"steps": 13, "validate_every": 2, "checkpoint_every": 1}
    scores = run(tmp_path / "uninterrupted", **settings)[1]
    assert run_with_kills(tmp_path / "cut", [4, 8, 11], **settings)[1] == scores
    assert same(tmp_path / "uninterrupted", tmp_path / "cut")


@pytest.mark.parametrize("steps", [2, 3, 4, 5])
def test_validations_within_an_epoch_are_resumed_too(tmp_path, monkeypatch, steps):
    """Killed before, at and after a validation; an epoch has four steps."""
    monkeypatch.setattr("unfold.training.settings.SHORTEST", 1)
    settings = {"steps": 7, "checkpoint_every": 1}
    scores = run(tmp_path / "uninterrupted", **settings)[1]
    assert run_with_kills(tmp_path / "cut", [steps], **settings)[1] == scores
    assert same(tmp_path / "uninterrupted", tmp_path / "cut")
    assert "validation/psnr" in (tmp_path / "cut/metrics.csv").read_text()


def test_a_finished_training_is_not_repeated(tmp_path, uninterrupted):
    run(tmp_path, steps=STEPS)
    training = small_training()

    def training_step(batch, batch_idx):
        raise KilledError

    training.training_step = training_step
    scores = run(tmp_path, steps=STEPS, training=training, resume_from=newest(tmp_path))[1]
    assert scores == uninterrupted[1]
    assert same(uninterrupted[0], tmp_path)


def newest(directory):
    return newest_checkpoint(directory / "checkpoints").path


@pytest.fixture
def handlers():
    """Those of a terminal, also where the tests run under `nohup`, and what was there after."""
    before = {number: signal.getsignal(number) for number in ERRORS}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("number", "error", "code"),
    [
        (signal.SIGTERM, PreemptedError, 143),
        (signal.SIGINT, InterruptedRunError, 130),
        (signal.SIGHUP, HungUpError, 129),
        (signal.SIGUSR1, WarnedError, 128 + signal.SIGUSR1),
    ],
)
def test_a_signal_ends_the_run_after_the_current_step(tmp_path, uninterrupted, number, error, code):
    before = signal.getsignal(number)
    training = killed_at(5, lambda: os.kill(os.getpid(), number))
    with pytest.raises(error, match=r"ended after step 6, which is saved.*same command") as caught:
        run(tmp_path, steps=STEPS, training=training, checkpoint_every=100)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) == before
    assert read_checkpoint(newest(tmp_path))["global_step"] == 6
    run(tmp_path, steps=STEPS, resume_from=newest(tmp_path), training=small_training())
    assert same(uninterrupted[0], tmp_path)


def test_what_nohup_ignores_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        training = killed_at(2, lambda: os.kill(os.getpid(), signal.SIGHUP))
        with raising_signals():
            assert run(tmp_path, steps=3, training=training)[1]["steps"] == 3
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", ERRORS, ids=lambda number: number.name)
def test_a_repeated_signal_ends_at_once_unless_simultaneous(number, monkeypatch):
    """As from the group of a sweep, and from the sweep: this process is still here."""
    request = StopRequest()
    request.listen()
    for _ in range(2):
        os.kill(os.getpid(), number)
    assert request.number == number
    with raising_signals():
        with pytest.raises(ERRORS[number], match="between two checkpoints"):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    ended = []
    monkeypatch.setattr(stopping.time, "monotonic", lambda: float("inf"))
    monkeypatch.setattr(stopping.os, "kill", lambda process, number: ended.append(number))
    signal.raise_signal(number)
    assert ended == [number]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.usefixtures("handlers")
def test_another_signal_is_not_a_repeated_one():
    request = StopRequest()
    request.listen()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    assert request.number == signal.SIGINT


def test_the_last_two_checkpoints_are_kept(tmp_path):
    with pytest.raises(KilledError):
        run(tmp_path, steps=STEPS, training=killed_at(6), checkpoint_every=2)
    steps = {n: read_checkpoint(tmp_path / "checkpoints" / n) for n in (LAST, PREVIOUS)}
    assert {name: state["global_step"] for name, state in steps.items()} == {LAST: 6, PREVIOUS: 4}
