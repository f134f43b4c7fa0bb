"""A gradient that is not finite: the step is skipped, or the training stops."""

import csv

import pytest
import torch

from tests.training.small import KilledError, run, small_training
from tests.training.test_resume import same
from unfold.errors import ConfigError, NonFiniteError
from unfold.training.checkpoints.checksum import newest_checkpoint
from unfold.training.guard.guard import Guard, Skip, Warn
from unfold.training.losses import MSE, Supervised
from unfold.training.settings import TrainerSettings

NAN = float("nan")


def broken(policy, steps, kill=None):
    """A training whose gradient is NaN in these steps, and that dies in step `kill`.

    Its weights before every step are kept in `seen`.
    """
    training = small_training()
    training.guard = Guard(policy, Warn())
    training.seen = []
    original = training.training_step

    def training_step(batch, batch_idx):
        step = training.global_step
        training.seen.append([p.detach().clone() for p in training.reconstructor.parameters()])
        if step == kill:
            raise KilledError
        loss = original(batch, batch_idx)
        if step in steps:
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
    state = torch.load(newest_checkpoint(tmp_path / "checkpoints").path, weights_only=True)
    moments = state["optimizer_states"][0]["state"].values()
    assert {int(one["step"]) for one in moments} == {4}, "the optimiser made 4 steps of 6"


def test_a_skip_is_warned(tmp_path):
    with pytest.warns(UserWarning, match=r"step 1 is not finite: every iterate.*skipped"):
        run(tmp_path, steps=2, training=broken(Skip(1), {1}))


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
def test_more_skips_in_a_row_than_allowed_stop_the_run(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 4 is not finite.*2 steps before it") as caught:
        run(tmp_path, steps=6, training=broken(Skip(2), {0, 2, 3, 4}))
    assert caught.value.exit_code == 4


@pytest.mark.filterwarnings("ignore:The loss or a gradient of step")
def test_killed_runs_resume_bit_identically(tmp_path):
    given = {"steps": 6, "checkpoint_every": 2}
    scores = run(tmp_path / "uninterrupted", training=broken(Skip(3), {3}), **given)[1]
    for kill in (4, 5):
        found = newest_checkpoint(tmp_path / "cut/checkpoints").path
        training = broken(Skip(3), {3}, kill=kill)
        with pytest.raises(KilledError):
            run(tmp_path / "cut", training=training, resume_from=found, **given)
    found = newest_checkpoint(tmp_path / "cut/checkpoints").path
    training = broken(Skip(3), {3})
    assert run(tmp_path / "cut", training=training, resume_from=found, **given)[1] == scores
    assert same(tmp_path / "uninterrupted", tmp_path / "cut")


def test_invalid_settings_are_refused():
    with pytest.raises(ConfigError, match=r"nonfinite_limit = 0: must be a whole number of at lea"):
        TrainerSettings(nonfinite_limit=0)


class Infinite(Supervised):
    """The mean square, and a constant next to it that is no number."""

    def __call__(self, reconstruction, truth):
        return MSE()(reconstruction, truth) + torch.tensor(1e38) * 1e38


def test_a_loss_that_is_infinite_while_its_gradient_is_not_is_found(tmp_path):
    """x + 1e38 · 1e38 is infinite, and its derivative is 1."""
    training = small_training()
    training.loss = Infinite()
    with pytest.raises(NonFiniteError, match=r"The loss or a gradient of step 0 is not finite"):
        run(tmp_path, steps=2, training=training)
