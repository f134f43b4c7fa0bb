"""A gradient that is not finite: the step is left out, or the training goes back, or it stops."""

import csv
import signal

import pytest
import torch

from tests.training.small import KilledError, run, small_training
from tests.training.test_resume import same
from unfold.errors import ConfigError, NonFiniteError, PreemptedError
from unfold.training.checkpoints.checksum import newest_state
from unfold.training.guard.guard import Guard
from unfold.training.guard.policies import Rollback, Skip, Warn
from unfold.training.losses.base import MSE, Supervised
from unfold.training.settings import TrainerSettings

NAN = float("nan")


def broken(policy, steps, rate=None, kill=None):
    """A training whose gradient is NaN in these steps, where its learning rate is at least `rate`.

    It dies in step `kill`; its learning rates and its weights before every step are kept.
    """
    training = small_training()
    training.guard = Guard(policy, Warn())
    training.rates, training.seen = [], []
    whole = training.training_step

    def training_step(batch, batch_idx):
        step = training.global_step
        lr = training.optimizers().param_groups[0]["lr"]
        training.rates.append((step, lr))
        training.seen.append([p.detach().clone() for p in training.reconstructor.parameters()])
        if step == kill:
            raise KilledError
        loss = whole(batch, batch_idx)
        if step in steps and (rate is None or lr >= rate):
            return loss * NAN
        return loss

    training.training_step = training_step
    return training


def rows(directory):
    with (directory / "metrics.csv").open() as file:
        return {int(row["step"]): row for row in csv.DictReader(file)}


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
def test_a_step_that_is_skipped_moves_nothing_and_is_counted(tmp_path):
    training = broken(Skip(2), {2, 3})
    run(tmp_path, steps=6, training=training)
    seen = training.seen
    for before, after in zip(seen[2], seen[4], strict=True):
        assert torch.equal(before, after), "steps 2 and 3"
    assert not all(torch.equal(a, b) for a, b in zip(seen[4], seen[5], strict=True))
    counts = [float(rows(tmp_path)[step]["train/skipped"]) for step in range(6)]
    assert counts == [0, 0, 1, 2, 2, 2]
    state = torch.load(newest_state(tmp_path / "checkpoints").path, weights_only=True)
    moments = state["optimizer_states"][0]["state"].values()
    assert {int(one["step"]) for one in moments} == {4}, "the optimiser made 4 steps of 6"


def test_a_skip_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"step 1 is not finite: every iterate.*left out"):
        run(tmp_path, steps=2, training=broken(Skip(1), {1}))


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
def test_more_skips_in_a_row_than_allowed_stop_the_run(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 4 is not finite.*2 steps before it") as caught:
        run(tmp_path, steps=6, training=broken(Skip(2), {0, 2, 3, 4}))
    assert caught.value.exit_code == 4


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
def test_going_back_halves_the_rate_until_it_passes(tmp_path):
    """From the state at step 2, and again, until the rate is below 0.004."""
    training = broken(Rollback(3), {3}, rate=0.004)
    _, scores = run(tmp_path, steps=5, training=training, checkpoint_every=2)
    first = [(0, 0.01), (1, 0.01), (2, 0.01), (3, 0.01)]
    second = [(2, 0.005), (3, 0.005)]
    third = [(2, 0.0025), (3, 0.0025), (4, 0.0025)]
    assert training.rates == [*first, *second, *third]
    for one, other in ((2, 4), (2, 6)):
        assert all(map(torch.equal, training.seen[one], training.seen[other]))
    counts = {step: float(row["train/rollbacks"] or 0) for step, row in rows(tmp_path).items()}
    assert counts == {0: 0, 1: 0, 2: 2, 3: 2, 4: 2, 5: 0}
    assert scores["steps"] == 5


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
def test_going_back_is_bounded_and_can_go_to_the_start(tmp_path):
    training = broken(Rollback(2), {1})
    with pytest.raises(NonFiniteError, match=r"step 1 is not finite.*went back 2 times"):
        run(tmp_path, steps=3, training=training, on_nonfinite="rollback")
    assert [step for step, _ in training.rates] == [0, 1] * 3
    for later in (2, 4):
        assert all(map(torch.equal, training.seen[0], training.seen[later]))


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
@pytest.mark.parametrize("policy", [lambda: Skip(3), lambda: Rollback(3)])
def test_kills_change_no_bit(tmp_path, policy):
    given = {"steps": 6, "checkpoint_every": 2}
    scores = run(tmp_path / "whole", training=broken(policy(), {3}, rate=0.004), **given)[1]
    for kill in (4, 5):
        found = newest_state(tmp_path / "cut/checkpoints").path
        training = broken(policy(), {3}, rate=0.004, kill=kill)
        with pytest.raises(KilledError):
            run(tmp_path / "cut", training=training, resume_from=found, **given)
    found = newest_state(tmp_path / "cut/checkpoints").path
    training = broken(policy(), {3}, rate=0.004)
    assert run(tmp_path / "cut", training=training, resume_from=found, **given)[1] == scores
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
@pytest.mark.parametrize("asked", [(5,), (4, 5), (3,), (4, 6), (6, 5)])
def test_a_state_that_a_signal_saved_is_not_gone_back_to(tmp_path, asked):
    """A state every 4 steps; the whole run goes back from step 6 to step 4."""
    given = {"steps": 9, "checkpoint_every": 4}
    whole = broken(Rollback(3), {6}, rate=0.004)
    scores = run(tmp_path / "whole", training=whole, **given)[1]
    again = [(step, 0.005) for step in (4, 5, 6)]
    assert whole.rates[7:10] == again
    for step in asked:
        training = broken(Rollback(3), {6}, rate=0.004)
        training.training_step = asked_to_end(training, step)
        found = newest_state(tmp_path / "cut/checkpoints").path
        with pytest.raises(PreemptedError, match="which is saved"):
            run(tmp_path / "cut", training=training, resume_from=found, **given)
    found = newest_state(tmp_path / "cut/checkpoints").path
    training = broken(Rollback(3), {6}, rate=0.004, kill=7)
    with pytest.raises(KilledError):
        run(tmp_path / "cut", training=training, resume_from=found, **given)
    found = newest_state(tmp_path / "cut/checkpoints").path
    training = broken(Rollback(3), {6}, rate=0.004)
    assert run(tmp_path / "cut", training=training, resume_from=found, **given)[1] == scores
    assert same(tmp_path / "whole", tmp_path / "cut")


def asked_to_end(training, at):
    """The step of a training that gets SIGTERM in step `at`."""
    whole = training.training_step

    def training_step(batch, batch_idx):
        if training.global_step == at:
            signal.raise_signal(signal.SIGTERM)
        return whole(batch, batch_idx)

    return training_step


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(ConfigError, match=r"nonfinite_limit = 0: must be 1 or above"):
        TrainerSettings(nonfinite_limit=0)
    for name in ("on_nonfinite", "on_unreached"):
        with pytest.raises(ConfigError, match=rf"{name} = rollback: one process goes back"):
            TrainerSettings(**{name: "rollback"}, devices=2, strategy="ddp")


class Infinite(Supervised):
    """The mean square, and a constant beside it that is no number."""

    def __call__(self, reconstruction, truth):
        return MSE()(reconstruction, truth) + torch.tensor(1e38) * 1e38


def test_a_loss_that_is_infinite_while_its_gradient_is_not_is_found(tmp_path):
    """x + 1e38 · 1e38 is infinite, and its derivative is 1."""
    training = small_training()
    training.loss = Infinite()
    with pytest.raises(NonFiniteError, match=r"The loss or a gradient of step 0 is not finite"):
        run(tmp_path, steps=2, training=training)
