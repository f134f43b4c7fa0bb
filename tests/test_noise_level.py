"""The noise level of each measurement: known to the problem, and to denoisers that ask for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from tests.engine import blur, measured, reconstructor
from unfold.algorithms.gd import GD
from unfold.algorithms.pgd import PGD
from unfold.config.experiment import build
from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError, DataWarning
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.schedules import Geometric
from unfold.parameters.select import Trainable
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian, Laplace, Noise, NoNoise
from unfold.physics.noise.signal_dependent import (
    Poisson,
    PoissonGaussian,
    Quantisation,
    Rician,
    Speckle,
    Transmission,
)
from unfold.priors.denoiser_priors import PnP, Score
from unfold.priors.l1 import L1
from unfold.random import Draws
from unfold.reconstructor import Reconstructor


class Recording(Denoiser):
    """D(v, σ) = v(1 − σ), and the levels it was given."""

    uses_sigma = True
    nonexpansive = True

    def __init__(self) -> None:
        super().__init__()
        self.channels = 1
        self.levels: list[Tensor] = []

    def forward(self, v: Tensor, sigma: Any) -> Tensor:
        self.levels.append(torch.as_tensor(sigma).detach().clone())
        return v * (1 - sigma)


NOISES = [
    Gaussian(0.1),
    Gaussian((0.02, 0.3)),
    Laplace((0.02, 0.3)),
    Poisson((5.0, 50.0)),
    PoissonGaussian((20.0, 50.0), (0.05, 0.1)),
    Speckle((30.0, 90.0)),
    Rician((0.05, 0.1)),
]


@pytest.mark.parametrize("noise", NOISES, ids=lambda n: type(n).__name__)
def test_the_level_is_the_deviation_of_the_noise(noise: Any):
    """The reference: the standard deviation of y over its pixels, the clean image constant."""
    physics, count = Denoising(noise), 4
    x = torch.full((count, 1, 200, 200), 0.6, dtype=torch.float64)
    draws = Draws(seed=3, images=range(count), epoch=2)
    y, operator = physics.measure(x, draws)
    found = physics.noise_level(y, operator, draws)
    assert found is not None
    want = np.std(y.numpy(), axis=(1, 2, 3))
    assert found.numpy() == pytest.approx(want, rel=0.06)


def test_no_level_is_known_without_a_variance():
    class Own(Noise):
        def apply(self, clean: Any, draws: Draws) -> Any:
            return clean

    physics, x = Denoising(Own()), torch.rand(2, 1, 4, 4)
    draws = Draws(0, range(2))
    y, operator = physics.measure(x, draws)
    assert physics.noise_level(y, operator, draws) is None
    exact = Denoising(NoNoise())
    level = exact.noise_level(x, operator, draws)
    assert level is not None and level.tolist() == [0, 0]


def test_the_noise_of_counts_of_nothing_is_zero():
    physics, y = Denoising(PoissonGaussian(10.0, 0.0)), torch.full((1, 1, 4, 4), -0.1)
    level = physics.noise_level(y, physics.operator_for(y), Draws(0, range(1)))
    assert level is not None and level.tolist() == [0]


MODELS = [Unfolded(3), DEQ(max_iterations=30), Classical(tol=1e-6, every=1)]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_the_word_gives_each_image_its_level(model: Any):
    network, A = Recording(), blur(6, batch=3)
    y = measured(A, batch=3)
    sigma = torch.tensor([0.01, 0.05, 0.2], dtype=torch.float64)
    net = reconstructor(PGD(), model, PnP(network, "noise_level"))
    whole = net(y, A, sigma).detach()
    assert network.levels[0].flatten().tolist() == sigma.tolist()
    for i in range(3):
        one = net(y[i : i + 1], A.take(torch.tensor([i]), 3), float(sigma[i])).detach()
        assert float((one - whole[i : i + 1]).abs().max()) < 1e-6
    plain = reconstructor(PGD(), model, PnP(Recording(), 0.05))
    second = plain(y[1:2], A.take(torch.tensor([1]), 3)).detach()
    assert float((second - whole[1:2]).abs().max()) < 1e-6


def test_the_problem_knows_the_level():
    A = blur(6)
    y = measured(A)
    _, problem = reconstructor(PGD(), Unfolded(1)).steps(y, A, 0.03).at(0)
    assert problem.noise_level is not None and problem.noise_level.tolist() == [0.03]
    _, problem = reconstructor(PGD(), Unfolded(1)).steps(y, A).at(0)
    assert problem.noise_level is None


def test_a_physics_of_fixed_level_knows_it_and_a_random_one_does_not():
    y = torch.rand(2, 1, 6, 6)
    network = Recording()
    net = reconstructor(PGD(), Unfolded(1), PnP(network, "noise_level"))
    net(y, Denoising(Gaussian(0.07)))
    assert network.levels[-1].flatten().tolist() == pytest.approx([0.07, 0.07])
    with pytest.raises(
        ConfigError, match=r"PnP.sigma = noise_level, .* pass noise_level=.*sigma = estimate"
    ):
        net(y, Denoising(Gaussian((0.01, 0.1))))
    net(y, Denoising(Gaussian((0.01, 0.1))), 0.02)
    assert network.levels[-1].flatten().tolist() == pytest.approx([0.02, 0.02])


@pytest.mark.parametrize("level", [-0.1, torch.ones(3), torch.tensor([0.1, -0.1]), float("nan")])
def test_levels_that_cannot_be_meant_are_refused(level: Any):
    y = torch.rand(2, 1, 6, 6)
    net = reconstructor(PGD(), Unfolded(1), PnP(Recording(), 0.1))
    with pytest.raises(ConfigError, match=r"noise_level = .*: one number from 0, or one for each"):
        net(y, Denoising(), level)


@pytest.mark.parametrize("choice", ["learn", "untied", "constrain"])
def test_the_word_is_not_learned(choice: str):
    value: Any = {"prior.sigma": (0.0, 1.0)} if choice == "constrain" else ["prior.sigma"]
    with pytest.raises(ConfigError, match="it is the noise level of each measurement"):
        reconstructor(PGD(), Unfolded(2), PnP(Recording(), "noise_level"), **{choice: value})


def test_another_word_is_refused():
    for kind in (PnP, Score):
        with pytest.raises(ConfigError, match=r"number is expected, .*, or the word noise_level"):
            kind(Recording(), "noise")  # type: ignore[arg-type]


def test_a_denoiser_is_trained_with_the_level_of_each_image():
    experiment = build("experiment=denoiser", "prior=dncnn_sigma", "data.crop=16")
    x = torch.rand(3, experiment.physics.sample(Draws(0, (0,)), (1, 16, 16)).image_shape[0], 16, 16)
    draws = Draws(5, range(3))
    y, operator = experiment.physics.measure(x, draws)
    level = experiment.physics.noise_level(y, operator, draws)
    assert level is not None and len(set(level.tolist())) == 3
    network = experiment.reconstructor.prior.denoiser
    given: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1]))
    with torch.no_grad():
        experiment.reconstructor(y, operator, level)
    assert given[0].flatten().tolist() == level.tolist()
    with pytest.raises(ConfigError, match="noise_level"):
        experiment.reconstructor(y, operator)


@pytest.mark.parametrize("given", ["noise", "range", "prior", "schedule", "argument"])
def test_a_level_of_eight_bits_is_told_with_its_value_of_images_in_the_unit_interval(given: str):
    y = torch.rand(2, 1, 6, 6)
    net = reconstructor(PGD(), Unfolded(1), PnP(Recording(), "noise_level"))
    make = {
        "noise": lambda: Gaussian(15),
        "range": lambda: Gaussian((0, 15)),
        "prior": lambda: PnP(Recording(), 15.0),
        "schedule": lambda: PnP(Recording(), Geometric(15.0, 0.5, 8)),
        "argument": lambda: net(y, Denoising(), 15.0),
    }
    with pytest.warns(DataWarning, match=r"= 15 of images in \[0, 1\]; 15 of 255 is 0.0588"):
        make[given]()


def test_levels_above_all_images_are_errors():
    y = torch.rand(2, 1, 6, 6)
    net = reconstructor(PGD(), Unfolded(1), PnP(Recording(), 0.1))
    with pytest.raises(ConfigError, match="noise_level = inf"):
        net(y, Denoising(), float("inf"))
    with pytest.raises(ConfigError, match=r"PnP.sigma = 25: .*25 of 255 is 0.0980"):
        PnP(Recording(), 25)


@pytest.mark.parametrize(
    ("noise", "level"),
    [
        (Speckle(1.0), 0.5),
        (Quantisation(4), 1 / (15 * 12**0.5)),
        (Transmission(1e5, 2.0), (np.exp(1.0) / 4e5) ** 0.5),
    ],
)
def test_the_level_of_a_measurement_is_not_biased(noise: Any, level: float):
    x = torch.full((1, 1, 128, 128), 0.5)
    physics, draws = Denoising(noise), Draws(0, (0,))
    y, operator = physics.measure(x, draws)
    assert float(physics.noise_level(y, operator, draws)) == pytest.approx(level, rel=0.03)


def test_a_level_known_within_a_factor_is_given_so_in_training_only():
    count, own = 400, Gaussian(0.1, known_within=2.0)
    x, draws = torch.full((count, 1, 8, 8), 0.5), Draws(3, range(count))
    exact, rough = Denoising(Gaussian(0.1)), Denoising(own)
    y, A = rough.measure(x, draws)
    assert torch.equal(y, exact.measure(x, draws).y)
    given = torch.log2(rough.noise_level(y, A, draws) / 0.1)
    assert kstest(given.sign() * given.abs() ** (1 / 3), "uniform", (-1, 2)).pvalue > 0.01
    one = rough.noise_level(y[7:8], A, draws.take([7]))  # of a batch of one
    assert torch.equal(one, rough.noise_level(y, A, draws)[7:8])
    assert not torch.equal(one, rough.noise_level(y[7:8], A, replace(draws.take([7]), epoch=1)))
    true = rough.moments(y, A, draws)  # as losses take it
    assert true is not None and torch.allclose(true.variance, torch.tensor(0.01))
    for known in (rough.noise_level(y, A, replace(draws, split="test")), rough.known_level(y, A)):
        assert torch.allclose(known, torch.tensor(0.1))
    plain = exact.noise_level(y, A, draws)
    assert torch.equal(plain, rough.with_noise(Gaussian(0.1, 1.0)).noise_level(y, A, draws))


@pytest.mark.parametrize("bad", [0.5, 0.0, -2.0, float("inf"), float("nan"), 17.0])
def test_a_factor_below_one_is_refused(bad):
    with pytest.raises(ConfigError, match=r"Gaussian.known_within = .*: must be in \[1, 16\]"):
        Gaussian(0.1, known_within=bad)


def test_a_level_of_zero_is_refused_where_it_divides():
    net = reconstructor(GD(), Unfolded(1), Score(Recording(), "noise_level"))
    with pytest.raises(ConfigError, match=r"Score.sigma = noise_level.* is 0: must be positive"):
        net(torch.rand(1, 1, 6, 6), Denoising(), 0.0)


@pytest.mark.parametrize("learned_too", [False, True])
def test_a_weight_is_a_factor_of_the_noise_level_of_each_image(learned_too):
    """Of λ‖x‖₁ with A = I one step of PGD is a soft threshold at cσ."""
    y, level = torch.randn(3, 1, 4, 4), torch.tensor([0.1, 0.2, 0.4])
    operator = Denoising().sample(Draws(0, range(3)), (1, 4, 4))
    learn = ("algo.lambda_reg",) if learned_too else ()
    trainable = Trainable(learn=learn, noise_relative=("algo.lambda_reg",))
    net = Reconstructor(PGD(1.0, 0.5), L1(), L2(), Unfolded(1), trainable=trainable)
    found = net(y, operator, level)
    size = 0.5 * level.reshape(-1, 1, 1, 1)
    assert torch.allclose(found, y.sign() * (y.abs() - size).clamp(min=0), atol=1e-6)
    assert found.requires_grad == learned_too
    with pytest.raises(ConfigError, match="lambda_reg = noise_level, and that of this measurement"):
        net(y, operator)
    with pytest.raises(ConfigError, match=r"algo.beta. matches nothing"):
        Reconstructor(
            PGD(), L1(), L2(), Unfolded(1), trainable=Trainable(noise_relative=["algo.beta"])
        )
