"""Fitting: the same numbers every time, the better weights kept, loud failures."""

import csv

import pytest
import torch

from tests.training.small import run, small_training
from unfold.algorithms.hqs import HQS
from unfold.errors import ConfigError, NonFiniteError
from unfold.evaluation.metrics import objective_mode
from unfold.physics.blur.blur import ValidBlur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import Gaussian
from unfold.training.checkpoints.weights import read_weights


def weights(training):
    return torch.cat([p.detach().flatten() for p in training.reconstructor.parameters()])


def test_runs_are_bit_identical_for_any_number_of_workers(tmp_path):
    runs = [run(tmp_path / str(i), workers=w)[0] for i, w in enumerate((0, 0, 2))]
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert torch.equal(weights(runs[0]), weights(runs[2]))


def test_training_lowers_the_loss_and_writes_its_curve_and_weights(tmp_path):
    training, scores = run(tmp_path, steps=24)
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(r["train/loss"]) for r in csv.DictReader(file) if r.get("train/loss")]
    assert len(losses) == 24
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    saved = read_weights(tmp_path)
    for name, value in training.reconstructor.state_dict().items():
        assert torch.equal(saved[name], value)
    assert scores["steps"] == 24


@pytest.mark.parametrize("shards", [1, 2])
def test_the_linear_solves_of_a_step_are_logged(tmp_path, shards):
    """The start, and two iterations with a solve forward and one backward, in each shard."""
    blur = ValidBlur(Gaussian(0.02), GaussianKernel(5, 1.0))
    run(tmp_path, steps=2, training=small_training(blur, algorithm=HQS(), shards=shards))
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/solves"]]
    assert [float(row["train/solves"]) for row in rows] == [5.0 * shards] * 2
    for row in rows:
        assert 2 < float(row["train/solve_iterations"]) < 30
        assert 0 < float(row["train/solve_residual"]) <= 5e-5
        assert float(row["train/solve_converged"]) == 1


def test_a_loss_that_is_not_finite_stops_the_run_at_once(tmp_path):
    class Broken(Inpainting):
        def measure(self, x, draws):
            y, operator = super().measure(x, draws)
            return type(super().measure(x, draws))(y * float("nan"), operator)

    training = small_training(Broken(Gaussian(0.0)))
    with pytest.raises(
        NonFiniteError, match=r"gradient of step 0 is not finite.*Lower the learning rate"
    ):
        run(tmp_path, training=training)


def test_an_objective_that_nothing_measures_is_refused():
    assert objective_mode("validation/psnr", ("psnr",)) == "max"
    assert objective_mode("validation/nmse", ("nmse",)) == "min"
    with pytest.raises(ConfigError, match=r"did you mean 'validation/psnr'.*validation/loss"):
        objective_mode("validation/psn", ("psnr",))


@pytest.mark.parametrize(("higher", "mode"), [(True, "max"), (False, "min"), (None, None)])
def test_a_further_objective_has_the_direction_that_its_metric_states(higher, mode):
    metric = type("Own", (), {"higher_is_better": higher})()
    if mode is None:
        with pytest.raises(ConfigError, match="does not state `higher_is_better`"):
            objective_mode("validation/own", ("own",), {"own": metric})
    else:
        assert objective_mode("validation/own", ("own",), {"own": metric}) == mode
