"""Losses of images, of all iterations, and their sums, against formulas and other libraries."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import laplace
from skimage.metrics import structural_similarity

from unfold import build
from unfold.algorithms.hqs import HQS
from unfold.algorithms.pgd import PGD
from unfold.config.build import configure
from unfold.denoisers.ista_net import ISTANet
from unfold.errors import ConfigError, IncompatibleError
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.select import Trainable
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.training.image_losses import (
    Charbonnier,
    DeepSupervision,
    EdgeLoss,
    LogMSE,
    OfMagnitudes,
    SSIMLoss,
    WeightedSum,
)
from unfold.training.losses import MSE, Consistency, L1Loss, Splitting, Trial

PHYSICS = Inpainting(Gaussian(0.02))


def components(*overrides):
    return configure(overrides).components


def pair(side=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(2, 2, 3, side, side, generator=g, dtype=torch.float64)


def test_image_losses_are_their_formulas():
    x, y = pair()
    d = (x - y).numpy()
    assert math.isclose(Charbonnier(0.1)(x, y), np.sqrt(d**2 + 0.01).mean())
    errors = (d.numpy() if hasattr(d, "numpy") else d).reshape(len(d), -1)
    assert math.isclose(LogMSE(1e-3)(x, y), np.log((errors**2).mean(1) + 1e-3).mean())
    kernel = np.stack([[laplace(one, mode="constant") for one in image] for image in d])
    edges = kernel[..., 1:-1, 1:-1]
    assert math.isclose(EdgeLoss(0.1)(x, y), np.sqrt(edges**2 + 0.01).mean())
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = [
        structural_similarity(a, b, data_range=1.0, channel_axis=0, **window)
        for a, b in zip(x.numpy(), y.numpy(), strict=True)
    ]
    assert math.isclose(SSIMLoss()(x, y), 1 - np.mean(theirs), rel_tol=2e-2)
    z = torch.polar(x, 7 * y)
    assert math.isclose(OfMagnitudes()(z, x.to(z)), 0, abs_tol=1e-12)
    assert MSE()(z, x.to(z)) > 0.1


def solved(loss, model=None, prior=None, algorithm=None):
    x = pair()[0][:, :1].float()
    net = Reconstructor(
        algorithm or PGD(), prior or PnP(ISTANet(1, 4, symmetry=0.0)), L2(), model or Unfolded(3)
    )
    draws = Draws(0, (0, 1))
    y, operator = PHYSICS.measure(x, draws)

    def solve(y, operator):
        return net.solve(y, operator, keep_iterates=loss.needs_iterates, draws=draws)

    trial = Trial(y, operator, x, PHYSICS, draws, solve)
    return net, x, loss.reconstruct(trial), trial


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("uniform", [1 / 3, 1 / 3, 1 / 3]),
        ("increasing", [1 / 6, 2 / 6, 3 / 6]),
        ((0.0, 2.0, 1.0), [0, 2, 1]),
    ],
)
def test_deep_supervision_weighs_the_images_of_all_iterations(weights, expected):
    loss = DeepSupervision(L1Loss(), weights)
    prior = PnP(ISTANet(1, 4, symmetry=0.0))
    _, x, solution, trial = solved(loss, prior=prior)
    shorter = [
        Reconstructor(PGD(), prior, L2(), Unfolded(k)).solve(trial.y, trial.operator)
        for k in (1, 2, 3)
    ]
    want = sum(w * (s.image - x).abs().mean() for w, s in zip(expected, shorter, strict=True))
    torch.testing.assert_close(loss.value(solution, trial), want)


def test_deep_supervision_refuses_what_it_cannot_compare():
    with pytest.raises(ConfigError, match=r"2 numbers for 5 iterations; give 5, or uniform"):
        DeepSupervision(weights=(1.0, 2.0)).check(PHYSICS, Unfolded(5))
    with pytest.raises(IncompatibleError, match="gradients of its limit only"):
        DeepSupervision().check(PHYSICS, DEQ())
    with pytest.raises(
        ConfigError, match=r"weights = unifrom: one of uniform, increasing or a list"
    ):
        components("loss=deep_supervision", "loss.weights=unifrom")


def test_a_sum_of_losses_weighs_its_terms():
    terms = {"a": MSE(), "b": Consistency(), "deep": DeepSupervision()}
    loss = WeightedSum(terms, {"a": 0.5, "deep": 2.0})
    assert loss.needs_truth and loss.needs_iterates
    _, _, solution, trial = solved(loss)
    a, b, deep = (term.value(solution, trial) for term in terms.values())
    torch.testing.assert_close(loss.value(solution, trial), 0.5 * a + b + 2 * deep)
    split = WeightedSum({"a": Splitting(), "b": Consistency()})
    _, _, solution, trial = solved(split)
    torch.testing.assert_close(solution.image, Splitting().reconstruct(trial).image)
    for given, words in (
        (({},), "no loss"),
        ((terms, {"c": 1.0}), "no term c; there are a, b, deep"),
        ((terms, {"a": -1.0}), r"weights.a = -1.0: must be 0 or positive"),
        (({"a": Splitting(), "b": Splitting(0.5)},), "a, b reconstruct from a part"),
    ):
        with pytest.raises(ConfigError, match=words):
            WeightedSum(*given)


def reference(v, network):
    """ISTA-Net+ by the formulas of its paper, and the penalty of its symmetry."""
    F, relu = torch.nn.functional.conv2d, torch.relu
    features = F(v, network.conv_D.weight, padding=1)
    there = [network.conv1_forward.weight, network.conv2_forward.weight]
    back = [network.conv1_backward.weight, network.conv2_backward.weight]
    sparse = F(relu(F(features, there[0], padding=1)), there[1], padding=1)
    kept = torch.where(sparse > network.soft_thr, sparse - network.soft_thr, 0)
    kept = kept + torch.where(sparse < -network.soft_thr, sparse + network.soft_thr, 0)
    image = F(relu(F(kept, back[0], padding=1)), back[1], padding=1)
    again = F(relu(F(sparse, back[0], padding=1)), back[1], padding=1)
    return v + F(image, network.conv_G.weight, padding=1), (again - features).square().mean()


@pytest.mark.parametrize("kind", [PGD, HQS])
def test_ista_net_is_its_formulas_and_its_penalty_enters_the_loss(kind):
    network = ISTANet(1, 4, threshold=0.05, symmetry=0.3)
    v = pair()[0][:, :1].float()
    image, symmetry = reference(v, network)
    torch.testing.assert_close(network(v, 0.0), image)
    torch.testing.assert_close(network.penalty(v), 0.3 * symmetry)
    net, _, solution, trial = solved(MSE(), Unfolded(2), PnP(network), kind(stepsize=0.7))
    f = net.steps(trial.y, trial.operator).first[1].f
    gamma = net.steps(trial.y, trial.operator).first[0].stepsize
    total = torch.zeros(())
    x = net.steps(trial.y, trial.operator).first[1].start
    for _ in range(2):
        u = x - gamma * f.grad(x) if kind is PGD else f.prox(x, gamma)
        total = total + reference(u, network)[1]
        x = reference(u, network)[0]
    torch.testing.assert_close(solution.image, x)
    torch.testing.assert_close(solution.penalty, 0.3 * total)
    assert net.solve(trial.y, trial.operator).penalty is None  # no training


def test_a_penalty_stays_in_half_precision_and_with_complex_images():
    torch.manual_seed(0)
    network = ISTANet(1, 4, symmetry=0.3)
    net, x, solution, trial = solved(MSE(), Unfolded(2), PnP(network))
    net.half_precision = True
    half = net.solve(trial.y, trial.operator, draws=trial.draws).penalty
    assert half.dtype == x.dtype
    torch.testing.assert_close(half, solution.penalty, rtol=2e-2, atol=0)
    z = torch.polar(x, 7 * x.flip(-1))
    parts = reference(torch.cat((z.real, z.imag)), network)[1]
    torch.testing.assert_close(PnP(network).penalty(z), 0.3 * parts)


def test_nine_phases_of_ista_net_plus_have_the_parameters_of_the_paper():
    net = build(
        "algo=pgd",
        "algo.stepsize=0.5",
        "prior=ista_net",
        "model.iterations=9",
        "trainable.untied=[prior.*,algo.stepsize]",
    ).reconstructor
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 336_978


def test_a_penalty_that_nothing_evaluates_is_refused():
    from unfold.algorithms.admm import ADMM

    prior = PnP(ISTANet(1, 4))
    with pytest.raises(IncompatibleError, match="adds a penalty to the loss, which"):
        Reconstructor(ADMM(), prior, L2(), Unfolded(2), None, Trainable())
    Reconstructor(ADMM(), PnP(ISTANet(1, 4, symmetry=0.0)), L2(), Unfolded(2))


def test_losses_of_examples_are_configured_by_name():
    made = components("loss=sum", "+loss@loss.terms.edge=edge", "+loss.weights.edge=0.1").loss
    assert made.weights == {"mse": 1.0, "edge": 0.1}
    assert isinstance(made.terms["edge"], EdgeLoss)
    assert isinstance(components("loss=magnitude", "loss@loss.loss=l1").loss.loss, L1Loss)
