"""The seed vocabulary runs as written, with its warning, and refuses unknown names."""

import warnings

import pytest
import torch

import unfold
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
        prior=unfold.PnP(unfold.DnCNN(1, 3, 4)),
        params_algo={"stepsize": 0.9},
        trainable_params=["stepsize"],
    )
    physics = unfold.Denoising()
    image = model(physics(torch.rand(1, 1, 8, 8)), physics)
    image.square().sum().backward()
    assert model.algo.raw_stepsize.grad is not None


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
