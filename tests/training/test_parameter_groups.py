"""Learning rates of their own, what waits, and where numbers stop being finite."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.engine import blur, measured
from tests.training.small import run, small_training
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError, NonFiniteError
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.priors.tikhonov import Tikhonov
from unfold.reconstructor import Reconstructor
from unfold.training.guard.failures import locate_nonfinite
from unfold.training.optim import (
    DeadParameterWarning,
    by_learning_rate,
    check_first_gradient,
    frozen,
    learned,
)


def network():
    return small_training().reconstructor


def test_every_parameter_is_in_one_group_with_its_rate():
    net = network()
    names = {id(p): name for name, p in learned(net).items()}
    groups = by_learning_rate(net, {"prior.*": 1e-3, "prior.denoiser.noise.0.*": 1e-2, "algo.*": 5})
    found = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert set(found) == set(learned(net)) and len(names) == sum(len(g["params"]) for g in groups)
    for name, rate in found.items():
        first = name.startswith("prior.denoiser.noise.0.")
        assert rate == (5 if name.startswith("algo") else 1e-2 if first else 1e-3)
    (rest, own) = by_learning_rate(net, {"prior.denoiser": 1e-3})
    assert "lr" not in rest and [names[id(p)] for p in rest["params"]] == ["algo.stepsize"]
    assert own["lr"] == 1e-3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: by_learning_rate(network(), {"algo.stepsiz": 1.0}),
            "did you mean 'algo.stepsize'",
        ),
        (
            lambda: by_learning_rate(network(), {"algo.*": 0.0}),
            r"TrainingOptions.lr.algo.\* = 0.0: must",
        ),
        (
            lambda: frozen(network(), {"prior.*": 0}),
            r"TrainingOptions.freeze.prior.\* = 0: must be 1",
        ),
        (lambda: frozen(network(), {"algo.lambda_reg": 1}), "which is not learned"),
    ],
)
def test_globs_that_match_nothing_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_frozen_parameters_are_trained_later(tmp_path):
    def ends(freeze, steps):
        training = small_training()
        training.options = replace(training.options, freeze=freeze)
        before = {name: p.detach().clone() for name, p in learned(training.reconstructor).items()}
        run(tmp_path / f"{len(freeze)}-{steps}", steps=steps, training=training)
        after = learned(training.reconstructor)
        return {name for name, p in after.items() if not torch.equal(p, before[name])}

    # an epoch is 4 steps: 8 images, 2 crops of each, batches of 4
    assert ends({"prior.*": 1}, 4) == {"algo.stepsize"}
    assert ends({"prior.*": 1}, 5) == ends({}, 5)


def test_the_first_image_and_iteration_that_are_not_finite_are_named():
    A = blur(4, batch=2)
    y = measured(A, batch=2)
    net = Reconstructor(PGD(stepsize=0.9), Tikhonov(), L2(), Unfolded(3)).double()
    said = locate_nonfinite(net, y, A, [7, 9])
    assert said.startswith(
        "every iterate is finite, so the loss or the derivative is not, with algo.stepsize"
    )
    y[1, 0, 0, 0] = torch.inf
    assert locate_nonfinite(net, y, A, [7, 9]) == "the measurement of image 9 is not finite"
    y = measured(A, batch=2)
    y[1] *= 1e285
    net = Reconstructor(PGD(stepsize=1e30), Tikhonov(), L2(), Unfolded(3)).double()
    said = locate_nonfinite(net, y, A, [7, 9])
    assert "image 9 is not finite from iteration 1 on, with algo.stepsize = 1e+30" in said


def test_a_nonfinite_training_is_located(tmp_path):
    training = small_training()
    with torch.no_grad():
        training.reconstructor.algo.raw_stepsize.fill_(1e30)
    with pytest.raises(
        NonFiniteError, match=r"step 0 is not finite: .* iteration \d on, with algo"
    ):
        run(tmp_path, training=training)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.raw_used = nn.Parameter(torch.ones(()))
        self.raw_idle = nn.Parameter(torch.ones(()))


def test_a_parameter_without_gradient_is_an_error_with_its_public_name():
    module = nn.ModuleDict({"algo": Two()})
    module["algo"].raw_used.square().backward()
    with pytest.raises(ConfigError, match=r"no gradient reaches algo\.idle"):
        check_first_gradient(module)


def test_a_gradient_of_exactly_zero_is_a_warning():
    module = nn.ModuleDict({"algo": Two()})
    (module["algo"].raw_used.square() + 0 * module["algo"].raw_idle).backward()
    with pytest.warns(DeadParameterWarning, match=r"algo\.idle is exactly zero"):
        check_first_gradient(module)
