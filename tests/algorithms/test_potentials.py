"""Potentials of mirror descent, Bregman proxes in closed form, and proven ranges."""

import numpy as np
import pytest
import torch

from tests.algorithms.small import COUNTS, MATRIX, SHAPE, Dense, M, dense_problem
from tests.engine import difference, normal
from unfold.algorithms.mirror_descent import MirrorDescent
from unfold.algorithms.potentials import (
    BurgEntropy,
    Euclidean,
    NegativeEntropy,
    Potential,
)
from unfold.algorithms.proximal_mirror_descent import CLOSED_FORMS, ProximalMirrorDescent
from unfold.algorithms.richardson_lucy import RichardsonLucy
from unfold.algorithms.sirt import SIRT
from unfold.errors import ConfigError
from unfold.fidelities.poisson import PoissonFidelity
from unfold.models.classical import Classical
from unfold.priors.box import Box
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.reconstructor import Reconstructor

B, LAM = 0.3, 0.05
y = COUNTS[0].numpy()
START = M.T @ y
ONES = M.T @ np.ones(8)
TOTAL = y.sum()


POTENTIALS = [Euclidean(), NegativeEntropy(), BurgEntropy()]


@pytest.mark.parametrize("phi", POTENTIALS)
def test_a_potential_comes_back_from_its_dual(phi: Potential):
    x = phi.start(normal(2, *SHAPE).square() + 0.1)
    assert difference(phi.back(phi.forward(x)), x) < 1e-12


@pytest.mark.parametrize("pair", CLOSED_FORMS, ids=lambda p: f"{p[0].__name__}-{p[1].__name__}")
def test_a_closed_form_is_the_minimum(pair: tuple[type[Potential], type[Prior]]):
    phi, prior = pair[0](), pair[1]()
    entropy = isinstance(phi, NegativeEntropy)
    p = normal(1, 1, 1, 40) * 2 - (0 if entropy or isinstance(prior, (Tikhonov, Box)) else 6)
    if isinstance(prior, L1) and not entropy:
        p = -p.abs() - 0.1
    weight = 0.7
    u = CLOSED_FORMS[pair](prior, p, weight)

    def objective(v: torch.Tensor) -> torch.Tensor:
        own = v * v.log() - v if entropy else -v.log()
        cost = {Tikhonov: v**2 / 2, L1: v, Box: torch.where((v < 0) | (v > 1), torch.inf, 0.0)}
        return own - p * v + weight * cost[type(prior)]

    assert (u > 0).all() and (objective(u) < torch.inf).all()
    for factor in (1e-4, 1e-2, 0.3):
        for moved in (u * (1 + factor), u * (1 - factor)):
            assert (objective(moved) >= objective(u) - 1e-14).all()


def test_a_pair_without_a_closed_form_is_refused_with_those_that_have_one():
    at = dense_problem(Tikhonov(), y=COUNTS)
    words = r"no closed form for NegativeEntropy with the prior Tikhonov. With one: Burg.*Euclidean"
    with pytest.raises(ConfigError, match=words):
        ProximalMirrorDescent(NegativeEntropy()).init(at)


def test_the_ranges_of_mirror_descent():
    smooth, counts = (
        dense_problem(Tikhonov()),
        dense_problem(Tikhonov(), PoissonFidelity(B), y=COUNTS),
    )
    for algorithm, at, holds in (
        (MirrorDescent(Euclidean(), 0.9, 0.0), smooth, True),
        (MirrorDescent(Euclidean(), 1.1, 0.0), smooth, False),
        (MirrorDescent(Euclidean(), 0.9, 9.0), smooth, False),
        (MirrorDescent(NegativeEntropy(), 0.9, 0.0), smooth, False),
        (MirrorDescent(BurgEntropy(), 0.9, 0.0), counts, True),
        (MirrorDescent(BurgEntropy(), 1.1, 0.0), counts, False),
        (MirrorDescent(BurgEntropy(), 0.9, 0.1), counts, False),
        (ProximalMirrorDescent(BurgEntropy(), 0.9, 0.1), counts, True),
        (ProximalMirrorDescent(BurgEntropy(), 0.9, 0.1), smooth, False),
        (SIRT(1.99), smooth, True),
        (SIRT(2.01), smooth, False),
        (SIRT(1.0), counts, False),
        (RichardsonLucy(0.0), counts, True),
        (RichardsonLucy(0.1), counts, False),
    ):
        assert algorithm.guarantee(at).holds is holds, algorithm


def test_within_its_range_burg_descends_at_every_step_and_beyond_its_domain_it_is_not_finite():
    at = dense_problem(Tikhonov(), PoissonFidelity(B), y=COUNTS)
    sound = MirrorDescent(BurgEntropy(), 1.0, 0.0)
    state, before = sound.init(at), float("inf")
    for _ in range(50):
        state = sound.step(state, at)
        value = float(at.f.value(state.x).item())
        assert value <= before + 1e-12
        before = value
    net = Reconstructor(
        MirrorDescent(BurgEntropy(), 60.0, 0.0),
        Tikhonov(),
        PoissonFidelity(B),
        Classical(every=1, max_iterations=20),
    ).double()
    assert not net.solve(COUNTS, Dense(MATRIX)).converged.any()


def test_converged_means_a_small_kkt_residual_for_counts():
    for algorithm in (RichardsonLucy(0.0), MirrorDescent(BurgEntropy(), 1.0, 0.0)):
        model = Classical(tol=1e-5, max_iterations=1500, every=5)
        net = Reconstructor(algorithm, Tikhonov(), PoissonFidelity(B), model).double()
        solution = net.solve(COUNTS, Dense(MATRIX))
        assert solution.converged.all()
        x = solution.image
        slope = dense_problem(Tikhonov(), PoissonFidelity(B), y=COUNTS).f.grad(x)
        assert float((x * slope).abs().max()) < 1e-4 * TOTAL and (x > 0.1).all()
