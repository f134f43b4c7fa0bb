"""Priors made of a denoiser: their formulas, and what is known of them for denoisers that are."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, blur, difference, measured, network_prior, normal, reconstructor
from tests.priors.instances import ALL
from tests.proximal_properties import assert_firmly_nonexpansive
from unfold.algorithms.pgd import PGD
from unfold.denoisers.denoiser import Denoiser, InHalfPrecision
from unfold.denoisers.dncnn import DnCNN, SmoothDnCNN
from unfold.errors import ConfigError
from unfold.models.unfolded import Unfolded
from unfold.priors.box import Box
from unfold.priors.composite import Sum, Weighted
from unfold.priors.denoiser_priors import RED, GradientStep, PnP, Score
from unfold.priors.tv import TV


class Wiener(Denoiser):
    """The mean of x given v = x + σn, for x Gaussian of mean m and variance s²: exact."""

    uses_sigma = True

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.channels, self.mean, self.variance = 1, mean, deviation**2

    def forward(self, v: Tensor, sigma: float) -> Tensor:
        share = self.variance / (self.variance + sigma**2)
        return self.mean + share * (v - self.mean)


class Linear(Denoiser):
    """N(v) = Mv on images of 6 pixels."""

    def __init__(self, M: Tensor) -> None:
        super().__init__()
        self.channels, self.matrix = 1, torch.nn.Parameter(M)

    def forward(self, v: Tensor, sigma: float) -> Tensor:
        return (v.flatten(1) @ self.matrix.mT).reshape(v.shape)


def test_the_score_of_gaussian_images_is_the_gradient_of_their_log_density():
    x, sigma = normal(2, 1, 3, 4), 0.3
    at = x.clone().requires_grad_()
    deviation = torch.tensor(0.8**2 + sigma**2, dtype=DOUBLE).sqrt()
    density = torch.distributions.Normal(0.5, deviation).log_prob(at).sum()
    (want,) = torch.autograd.grad(density, at)
    prior = Score(Wiener(0.5, 0.8), sigma)
    assert difference(prior.score(x), want) < 1e-12
    assert difference(prior.grad(x), -want) < 1e-12


def test_red_is_the_residual_and_the_score_is_it_over_the_variance():
    red, x = ALL["red"], normal(2, 1, 5, 6)
    assert isinstance(red, RED)
    assert difference(red.grad(x), x - red.denoiser(x, 0.0)) < 1e-15
    score = Score(red.denoiser, 0.2)
    assert difference(score.grad(x), red.grad(x) / 0.04) < 1e-13


def test_the_gradient_of_red_is_firmly_nonexpansive_with_such_a_denoiser():
    red = RED(network_prior().denoiser.prepared())
    with torch.no_grad():
        assert_firmly_nonexpansive(red.grad, 1, 4, 4, dtype=DOUBLE)


def test_the_gradient_step_of_a_linear_network_by_hand():
    M, v = 0.3 * normal(6, 6, seed=3), normal(2, 1, 2, 3)
    prior = GradientStep(Linear(M))
    residual = torch.eye(6, dtype=DOUBLE) - M
    grad = (v.flatten(1) @ (residual.mT @ residual).mT).reshape(v.shape)
    with torch.no_grad():
        assert difference(prior.grad(v), grad) < 1e-12
        assert difference(prior.prox(v, 0.4), v - 0.4 * grad) < 1e-12
        want = 0.5 * (v.flatten(1) @ residual.mT).square().sum(1)
        assert difference(prior.value(v), want) < 1e-12


def test_the_gradient_step_descends_on_its_own_function():
    prior, x = ALL["gradient_step"], normal(1, 1, 6, 6)
    with torch.no_grad():
        values = [float(prior.value(x))]
        for _ in range(20):
            x = prior.prox(x, 0.1)
            values.append(float(prior.value(x)))
    assert all(b < a for a, b in pairwise(values))


def test_the_gradient_step_can_be_differentiated_again_in_image_weight_and_network():
    prior = GradientStep(SmoothDnCNN(1, 2, 3).double(), 0.1)
    x, c = normal(1, 1, 3, 3).requires_grad_(), normal(1, 1, 3, 3, seed=2)
    w = torch.tensor(0.4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: prior.prox(x, w), (x, w), atol=1e-6)
    parameter = next(prior.denoiser.parameters())

    def loss() -> Tensor:
        return (prior.prox(normal(1, 1, 3, 3), 0.4) * c).sum()  # the image records nothing

    (grad,) = torch.autograd.grad(loss(), parameter)
    step = 1e-6 * normal(*parameter.shape, seed=7)
    with torch.no_grad():
        parameter += step
        above = loss()
        parameter -= 2 * step
        below = loss()
    numeric = float(above - below) / 2e-6
    along = float((grad * step).sum()) / 1e-6
    assert abs(along - numeric) < 1e-6 * abs(numeric)


@pytest.mark.parametrize("name", ["red", "score", "gradient_step"])
def test_values_without_a_recorded_gradient_are_the_same(name: str):
    prior, x = ALL[name], normal(2, 1, 4, 5)
    with torch.no_grad():
        quiet = prior.grad(x)
        assert not quiet.requires_grad
    with torch.inference_mode():
        assert torch.equal(prior.grad(x + 0.0), quiet)
    assert torch.equal(prior.grad(x), quiet)
    assert torch.equal(prior.grad(x.requires_grad_()), quiet)


def test_a_reconstruction_in_inference_mode_is_the_same():
    A = blur(6)
    net = reconstructor(PGD(), Unfolded(3), GradientStep(SmoothDnCNN(1, 2, 3), 0.1))
    with torch.no_grad():
        quiet = net(measured(A), A)
    with torch.inference_mode():
        assert torch.equal(net(measured(A), A), quiet)


def test_networks_inside_sums_are_changed_too():
    prior = Sum((Weighted(RED(DnCNN(1, 3, 4)), 0.5), TV(), Box()))
    changed = prior.with_denoisers(InHalfPrecision)
    assert isinstance(changed, Sum) and changed.terms[1:] == prior.terms[1:]
    inner = changed.terms[0]
    assert isinstance(inner, Weighted) and isinstance(inner.prior, RED)
    assert isinstance(inner.prior.denoiser, InHalfPrecision) and inner.weight == 0.5


def test_sigma_acts_in_a_score_in_any_case_and_elsewhere_where_the_network_takes_it():
    for kind in (PnP, RED, GradientStep):
        assert set(kind(DnCNN(1, 3, 4)).cannot_act()) == {"sigma"}
        assert not kind(SmoothDnCNN(1, 3, 4)).cannot_act()
    assert not Score(DnCNN(1, 3, 4)).cannot_act()
    with pytest.raises(ConfigError, match=r"Score.sigma = 0.0: must be positive"):
        Score(DnCNN(1, 3, 4), 0.0)
    assert replace(ALL["red"], sigma=0.0)  # a residual has no division by it
