"""The seed vocabulary runs as written, with its warning, and refuses unknown names."""

import dataclasses
import warnings

import pytest
import torch

import unfold
from unfold.algorithms.algorithm import Algorithm
from unfold.builders import _algorithm
from unfold.compatibility import concrete
from unfold.errors import ConfigError


def test_the_example_of_the_design_runs_as_written():
    with pytest.warns(UserWarning, match=r"prior.sigma cannot act .DnCNN takes no noise level"):
        model = unfold.unfolded_builder(
            iteration="PGD",
            data_fidelity=unfold.L2(),
            prior=unfold.PnP(unfold.DnCNN()),
            params_algo={"stepsize": 1.0, "g_param": 1.0},
            trainable_params=["stepsize", "g_param"],
            max_iter=5,
        )
    x = torch.randn(1, 3, 16, 16)
    physics = unfold.Denoising()
    x_hat = model(physics(x), physics)
    assert x_hat.shape == x.shape and x_hat.isfinite().all()
    learned = {n for n, p in model.named_parameters() if p.requires_grad}
    assert "algo.raw_stepsize" in learned and "prior.raw_sigma" not in learned
    assert any(n.startswith("prior.denoiser.") for n in learned)
    assert model.model.iterations == 5


def test_values_are_absolute_and_may_be_one_per_iteration():
    model = unfold.unfolded_builder(
        "PGD",
        prior=unfold.Tikhonov(),
        params_algo={"stepsize": [0.5, 1.0], "lambda": 0.3},
        max_iter=2,
    )
    values = model.parameter_values()
    assert values["algo.stepsize"].tolist() == pytest.approx([0.5, 1.0])
    assert float(values["algo.lambda_reg"]) == pytest.approx(0.3)
    assert model.algo.plans["stepsize"].unit == "1"


@pytest.mark.parametrize("iteration", ["PGD", "ADMM", "PDHG"])
def test_an_equilibrium_of_every_iteration(iteration: str):
    model = unfold.DEQ_builder(
        iteration,
        prior=unfold.PnP(unfold.NonexpansiveResNet(1, 3, 4)),
        params_algo={"stepsize": 0.9},
        trainable_params=["stepsize"],
    )
    physics = unfold.Denoising()
    image = model(physics(torch.rand(1, 1, 8, 8)), physics)
    image.square().sum().backward()
    assert model.algo.raw_stepsize.grad is not None


def test_builders_return_base_classes_that_may_be_subclassed():
    class Mine(unfold.BaseUnfold):
        def forward(self, y, operator):
            return super().forward(y, operator).clamp(0, 1)

    prior, physics = unfold.Tikhonov(), unfold.Denoising()
    mine = Mine("GD", prior=prior, max_iter=2)
    assert isinstance(mine, unfold.Reconstructor) and mine.model.iterations == 2
    assert mine(2 * torch.ones(1, 1, 4, 4), physics).max() == 1
    assert isinstance(unfold.unfolded_builder(prior=prior), unfold.BaseUnfold)
    assert isinstance(unfold.DEQ_builder("ADMM", prior=prior), unfold.BaseDEQ)


def test_an_iterator_of_the_user_is_an_instance_or_a_class():
    @dataclasses.dataclass(frozen=True)
    class Halved(unfold.PGD):
        """PGD with half of its step."""

        def step(self, state, problem):
            x = super().step(state, problem).x
            return type(state)(state.x + (x - state.x) / 2)

    prior, physics, y = unfold.Tikhonov(), unfold.Denoising(), torch.rand(1, 1, 4, 4)
    by_class = unfold.unfolded_builder(Halved, prior=prior, params_algo={"stepsize": 0.5})
    by_value = unfold.unfolded_builder(Halved(stepsize=0.5), prior=prior)
    assert torch.equal(by_class(y, physics), by_value(y, physics))
    assert not torch.equal(
        by_class(y, physics), unfold.unfolded_builder("PGD", prior=prior)(y, physics)
    )


ALGORITHMS = [c.__name__ for c in concrete(Algorithm) if c.__module__.startswith("unfold.")]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_goes_by_its_name(name: str):
    assert type(_algorithm(name)).__name__ == name


def test_a_weight_that_drops_out_is_said_to():
    with pytest.warns(UserWarning, match=r"algo.lambda_reg cannot act .PnP takes no weight"):
        unfold.unfolded_builder(
            "PGD", prior=unfold.PnP(unfold.ConditionalDnCNN(1)), trainable_params=["lambda"]
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unfold.unfolded_builder(
            "PGD", prior=unfold.PnP(unfold.ConditionalDnCNN(1)), trainable_params=["g_param"]
        )


def test_unknown_names_are_refused_with_the_nearest():
    prior = unfold.Tikhonov()
    with pytest.raises(ConfigError, match=r"iteration = 'PGDD': unknown, did you mean 'PGD'"):
        unfold.unfolded_builder("PGDD", prior=prior)
    with pytest.raises(
        ConfigError, match=r"params_algo: unknown parameter 'stepsiz', did you mean"
    ):
        unfold.unfolded_builder("PGD", prior=prior, params_algo={"stepsiz": 1.0})
    with pytest.raises(ConfigError, match=r"trainable_params: unknown parameter 'lamda', did you"):
        unfold.unfolded_builder("PGD", prior=prior, trainable_params=["lamda"])
    with pytest.raises(ConfigError, match=r"PGD has no 'beta'. Available: lambda_reg, stepsize"):
        unfold.unfolded_builder("PGD", prior=prior, params_algo={"beta": 1.0})
    with pytest.raises(ConfigError, match=r"Tikhonov has no 'sigma'"):
        unfold.DEQ_builder("PGD", prior=prior, params_algo={"g_param": 0.1})
