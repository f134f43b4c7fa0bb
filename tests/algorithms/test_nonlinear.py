"""Algorithms where A is not linear: which of them go through it, and what they then reach."""

import math
from typing import Any

import pytest
import torch

from tests.engine import (
    DOUBLE,
    blur,
    dense_gradients,
    difference,
    learned,
    network_prior,
    normal,
    reconstructor,
    uniform,
    weighted_loss,
)
from tests.shipped import build, files
from unfold.algorithms.algorithm import Algorithm, proven
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.gd import GD
from unfold.algorithms.heavy_ball import HeavyBall
from unfold.algorithms.mirror_descent import MirrorDescent
from unfold.algorithms.pgd import PGD
from unfold.algorithms.potentials import BurgEntropy
from unfold.compatibility import check_needs
from unfold.errors import ConfigError
from unfold.evaluation.baselines import total_variation
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.initialization import Regularised
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import Implicit
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.saturation import Saturated
from unfold.physics.custom.functions import NonlinearFunction
from unfold.priors.box import Box
from unfold.priors.composite import Sum
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV
from unfold.problem import make_problem
from unfold.reconstructor import Reconstructor

SENSOR = Saturated(blur(8), 1.4, 6.0)
X = uniform(1, 1, 8, 8, seed=5)
Y = SENSOR.A(X) + 0.02 * normal(1, 1, 8, 8, seed=6)
PRIORS: tuple[Prior, ...] = (Tikhonov(), TV(), Sum((L1(), Box(-1.0, 2.0))), L1())
FIDELITIES: tuple[Fidelity, ...] = (L2(), PoissonFidelity(0.1))
EXACT = DEQ(tol=1e-13, max_iterations=400, backward=Implicit(tol=1e-12, max_iterations=300))


def fitting(algorithm: Algorithm[Any]) -> tuple[Prior, Fidelity]:
    """A prior and a fidelity that it takes."""
    for prior in PRIORS:
        for fidelity in FIDELITIES:
            try:
                check_needs(algorithm, prior, fidelity)
                algorithm.init(make_problem(fidelity, SENSOR.operator, Y.abs(), prior))
                return prior, fidelity
            except ConfigError:
                continue
    raise AssertionError(f"nothing fits {algorithm}")


@pytest.mark.parametrize("name", sorted({*files("algo")} - {"e2e_varnet"}))  # for coils only
def test_an_algorithm_goes_through_it_or_is_refused(name: str):
    """What an algorithm that takes it touches of A is its value and its derivative alone."""
    algorithm = build(files("algo")[name])
    prior, fidelity = fitting(algorithm)
    net = Reconstructor(algorithm, prior, fidelity, Classical(max_iterations=3)).double()
    if algorithm.takes_nonlinear:
        image = net(Y, SENSOR)
        assert image.isfinite().all() and difference(image, net.steps(Y, SENSOR).first[1].start) > 0
        guarantee = net.guarantee(Y, SENSOR)
        assert not guarantee.holds and "no range is proven" in guarantee.condition
        return
    words = (
        rf"{type(algorithm).__name__} needs a linear operator, and "
        r"Saturated, from images of \(1, 8, 8\) to measurements of \(1, 8, 8\), is not linear: "
        r"no A\*, no \(I \+ γA\*A\)⁻¹. Take linear physics, such as Blur, CartesianMRI, Inpaint.*"
        r"PGD .*GD .*Available: CondatVu, DavisYin, FISTA, GD"
    )
    with pytest.raises(ConfigError, match=words):
        net(Y, SENSOR)


def test_nothing_is_proven():
    at = make_problem(L2(), SENSOR, Y, Tikhonov())
    assert at.lipschitz.tolist() == [math.inf]
    for algorithm in (GD(1e-6, 1e-6), PGD(1e-6, 1e-6), HeavyBall(1e-6, 1e-6, 0.1)):
        assert not algorithm.guarantee(at).holds and not proven(algorithm, at).holds
        linear = make_problem(L2(), SENSOR.operator, Y, Tikhonov())
        assert proven(algorithm, linear) == algorithm.guarantee(linear)
    counts = make_problem(PoissonFidelity(0.1), SENSOR, Y.abs(), Tikhonov())
    assert not MirrorDescent(BurgEntropy(), 0.1, 0.0).guarantee(counts).holds
    television = make_problem(L2(), SENSOR, Y, TV())
    condat = CondatVu(0.1, 0.1, 0.01)
    assert condat.relative_gap(condat.init(television), television) is None


def test_gradient_descent_goes_down_to_a_stationary_point():
    at = make_problem(L2(), SENSOR, Y, Tikhonov(), Regularised())
    gd = GD(0.9 / float(SENSOR.norm_squared), 0.02)
    state, before = gd.init(at), math.inf
    for _ in range(600):
        value = float(at.f.value(state.x) + 0.02 * at.g.value(state.x))
        assert value <= before + 1e-13
        state, before = gd.step(state, at), value
    x = state.x.clone().requires_grad_()
    objective = 0.5 * (SENSOR.A(x) - Y).square().sum() + 0.01 * x.square().sum()
    (slope,) = torch.autograd.grad(objective, x)
    assert float(slope.norm()) < 1e-8
    assert difference(x, X) < difference(at.start, X)


def test_the_unfolded_gradient_is_that_of_differences():
    net = reconstructor(PGD(0.7, 0.05), Unfolded(4), network_prior())
    parameters = learned(net)
    grads = torch.autograd.grad(weighted_loss(net(Y, SENSOR)), parameters)
    h = 1e-6
    for p, grad in zip(parameters, grads, strict=True):
        move = normal(p.numel(), seed=9).reshape(p.shape)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                p.add_(sign * h * move)
                values.append(float(weighted_loss(net(Y, SENSOR))))
                p.sub_(sign * h * move)
        want, found = (values[0] - values[1]) / (2 * h), float((grad * move).sum())
        assert abs(found - want) < 1e-6 * max(abs(want), 1e-2)


@pytest.mark.parametrize("operator", [SENSOR, NonlinearFunction(SENSOR.A, (1, 8, 8), (1, 8, 8))])
def test_the_gradient_of_the_equilibrium_is_that_of_a_dense_solve(operator):
    net = reconstructor(PGD(0.7, 0.05), EXACT, network_prior(c=0.8))
    parameters = learned(net)
    wanted, radius = dense_gradients(net, Y, operator, parameters)
    assert 0.05 < radius < 1
    grads = torch.autograd.grad(weighted_loss(net(Y, operator)), parameters)
    for found, want in zip(grads, wanted, strict=True):
        assert difference(found, want) < 1e-7
    long = reconstructor(PGD(0.7, 0.05), Unfolded(300), network_prior(c=0.8))
    long.load_state_dict(net.state_dict())
    unrolled = torch.autograd.grad(weighted_loss(long(Y, operator)), learned(long))
    for found, want in zip(grads, unrolled, strict=True):
        assert difference(found, want) < 1e-6


def test_a_network_learns_through_it():
    """Ten steps of Adam bring images nearer than the start, and than the network before."""
    sensor = Saturated(blur(8, batch=16), 1.4, 6.0)
    x = torch.nn.functional.avg_pool2d(uniform(16, 1, 10, 10, seed=7), 3, 1)
    y = sensor.A(x) + 0.05 * normal(16, 1, 8, 8, seed=8)
    net = reconstructor(PGD(0.7, 0.05), Unfolded(3), network_prior(), start=Regularised())
    optimizer = torch.optim.Adam(learned(net), 3e-2)
    losses: list[float] = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = (net(y, sensor) - x).square().mean()
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    start = net.steps(y, sensor).first[1].start
    assert losses[-1] < 0.9 * float((start - x).square().mean())
    assert losses[-1] < 0.9 * losses[0]


def test_total_variation_does_not_need_a_linear_operator():
    """Of a linear map that hides as another, both ways find the same image."""
    A = blur(8)
    y, weight = A.A(X), torch.tensor([0.05], dtype=DOUBLE)
    hidden = NonlinearFunction(A.forward, (1, 8, 8), (1, 8, 8))
    want = total_variation(y, A, weight, Classical(1e-9, 5000, 20))
    found = total_variation(y, hidden, weight, Classical(1e-9, 5000, 20))
    assert bool(found.converged.all()) and found.gap is None
    assert difference(found.image, want.image) < 1e-4
