"""Multiplicative, entropic and row-scaled methods: formulas, counts, minimisers, refusals."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.algorithms.small import COUNTS, MATRIX, SIZE, M, dense_problem, image, positive_matrix
from tests.engine import difference, iterate, normal, run
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.mirror_descent import MirrorDescent
from unfold.algorithms.osem import OSEM
from unfold.algorithms.potentials import BurgEntropy, NegativeEntropy
from unfold.algorithms.proximal_mirror_descent import ProximalMirrorDescent
from unfold.algorithms.richardson_lucy import RichardsonLucy
from unfold.algorithms.sirt import SIRT
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.convolution import CircularConvolution
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import make_problem
from unfold.reconstructor import Reconstructor

B, LAM = 0.3, 0.05
y = COUNTS[0].numpy()
START = M.T @ y
ONES = M.T @ np.ones(8)
TOTAL = y.sum()


def counts_slope(x: np.ndarray) -> np.ndarray:
    return M.T @ (1 - y / (M @ x + B))


def sirt(k: int) -> np.ndarray:
    x, C, R = START, 1 / ONES, 1 / (M @ np.ones(SIZE))
    for _ in range(k):
        x = x + 0.7 * C * (M.T @ (R * (y - M @ x)))
    return x


def richardson_lucy(k: int) -> np.ndarray:
    x = START
    for _ in range(k):
        x = x * (M.T @ (y / (M @ x + B))) / (ONES + LAM * x)
    return x


def osem(k: int) -> np.ndarray:
    x = START
    for _ in range(k):
        for s in range(3):
            rows = M[s::3]
            x = x * (rows.T @ (y[s::3] / (rows @ x + B))) / (rows.T @ np.ones(len(rows)))
    return x


def exponentiated(k: int) -> np.ndarray:
    x = START
    for _ in range(k):
        x = x * np.exp(-0.3 / np.linalg.norm(M, 2) ** 2 * (M.T @ (M @ x - y) + LAM * x))
    return x


def burg(k: int) -> np.ndarray:
    x = START
    for _ in range(k):
        x = x / (1 + 0.9 / TOTAL * x * (counts_slope(x) + LAM * x))
    return x


def burg_and_ridge(k: int) -> np.ndarray:
    x, t = START, 0.9 / TOTAL
    for _ in range(k):
        p = -1 / x - t * counts_slope(x)
        x = (p + np.sqrt(p**2 + 4 * t * LAM)) / (2 * t * LAM)
    return x


BY_HAND: dict[str, tuple[Algorithm[Any], Prior, Fidelity, Callable[[int], np.ndarray]]] = {
    "sirt": (SIRT(0.7), Tikhonov(), L2(), sirt),
    "richardson_lucy": (RichardsonLucy(LAM), Tikhonov(), PoissonFidelity(B), richardson_lucy),
    "osem": (OSEM(3), Tikhonov(), PoissonFidelity(B), osem),
    "exponentiated": (
        MirrorDescent(NegativeEntropy(), 0.3, LAM),
        Tikhonov(),
        L2(),
        exponentiated,
    ),
    "burg": (MirrorDescent(BurgEntropy(), 0.9, LAM), Tikhonov(), PoissonFidelity(B), burg),
    "burg_and_ridge": (
        ProximalMirrorDescent(BurgEntropy(), 0.9, LAM),
        Tikhonov(),
        PoissonFidelity(B),
        burg_and_ridge,
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_first_iterates_are_those_of_the_formulas_for_each_image_by_itself(name: str):
    algorithm, prior, fidelity, by_hand = BY_HAND[name]
    twice = torch.cat((COUNTS, 3 * COUNTS.flip(1)))
    at = dense_problem(prior, fidelity, y=twice)
    state = algorithm.init(at)
    for k in range(6):
        # The norm of the operator is a bound within 4e-5 of the truth.
        close = 1e-12 if name not in ("exponentiated", "simplex") else 1e-4
        assert difference(algorithm.image(state)[:1], image(by_hand(k))) < close, f"iterate {k}"
        before = state.x.clone()
        new = algorithm.step(state, at)
        assert torch.equal(before, state.x)
        state = new
    alone = iterate(algorithm, dense_problem(prior, fidelity, y=twice[1:]), 6)
    assert difference(algorithm.image(state)[1:], alone) < 1e-12


def test_every_iterate_accounts_for_all_counts_and_stays_positive():
    at = dense_problem(Tikhonov(), PoissonFidelity(), y=COUNTS)
    state = RichardsonLucy(0.0).init(at)
    for _ in range(5):
        state = RichardsonLucy(0.0).step(state, at)
        assert float((at.f.column_sums * state.x).sum()) == pytest.approx(TOTAL, rel=1e-13)
        assert (state.x > 0).all()
    assert difference(iterate(OSEM(1), at, 5), state.x) < 1e-13


def test_a_pixel_that_is_not_seen_and_a_dark_start_do_no_harm():
    blind = MATRIX.clone()
    blind[0, :, 2] = 0
    blind[0, 3] = 0
    for algorithm, fidelity in (
        (SIRT(), L2()),
        (RichardsonLucy(0.0), PoissonFidelity(B)),
        (OSEM(2), PoissonFidelity(B)),
    ):
        at = dense_problem(Tikhonov(), fidelity, y=COUNTS, matrix=blind)
        first, last = iterate(algorithm, at, 0), iterate(algorithm, at, 4)
        assert last.isfinite().all() and torch.equal(first[0, 0, 0, 2], last[0, 0, 0, 2])
        dark = dense_problem(Tikhonov(), fidelity, y=torch.zeros_like(COUNTS))
        assert iterate(algorithm, dark, 4).isfinite().all()


def test_ordered_subsets_are_fast_and_then_cycle():
    tall = torch.cat([positive_matrix(8, seed) for seed in range(3)], dim=1)
    counts = torch.cat((COUNTS, 0.95 * COUNTS, 1.05 * COUNTS), dim=1)
    at = dense_problem(Tikhonov(), PoissonFidelity(B), y=counts, matrix=tall)
    want = iterate(RichardsonLucy(0.0), at, 300)
    slow = difference(iterate(RichardsonLucy(0.0), at, 2), want)
    assert difference(iterate(OSEM(3), at, 2), want) < 0.6 * slow
    end = run(OSEM(3), at, 100)
    assert difference(OSEM(3).step(end, at).x, end.x) < 1e-10  # a cycle of whole passes
    assert difference(end.x, want) > 1e-3  # that is not the maximum
    assert OSEM(1).guarantee(at).holds and not OSEM(4).guarantee(at).holds


def test_sirt_ends_at_weighted_least_squares():
    R = np.diag(1 / (M @ np.ones(SIZE)))
    want = np.linalg.solve(M.T @ R @ M, M.T @ R @ y)
    found = iterate(SIRT(1.9), dense_problem(Tikhonov(), y=COUNTS), 600)
    assert difference(found, image(want)) < 1e-9


def test_an_operator_with_negative_entries_is_refused():
    sharpen = torch.tensor([[0.0, -0.05, 0.0], [-0.05, 1.2, -0.05], [0.0, -0.05, 0.0]])
    A = CircularConvolution(sharpen.double()[None, None], (1, 8, 8))
    good = CircularConvolution(sharpen.double().abs()[None, None], (1, 8, 8))
    signal = 1 + normal(1, 1, 8, 8).square()
    for algorithm, fidelity in (
        (SIRT(), L2()),
        (RichardsonLucy(), PoissonFidelity()),
        (OSEM(), PoissonFidelity()),
    ):
        net = Reconstructor(algorithm, Tikhonov(), fidelity, Unfolded(2)).double()
        with pytest.raises(ConfigError, match=r"without negative entries, and CircularConvolution"):
            net(signal, A)
        assert net(signal, good).isfinite().all()
    with pytest.raises(ConfigError, match=r"RichardsonLucy needs a likelihood of counts.*Poisson"):
        Reconstructor(RichardsonLucy(), Tikhonov(), L2(), Unfolded(2))


@pytest.mark.parametrize("algorithm", [RichardsonLucy(0.0), OSEM(2)])
def test_dark_regions_stay_in_the_domain_in_single_precision(algorithm: Any):
    # Where nothing is counted the image goes to 0, and rounding must not make a rate negative.
    h = torch.full((1, 1, 5, 5), 0.04)
    A = CircularConvolution(h, (1, 32, 32))
    x = torch.zeros(1, 1, 32, 32)
    x[..., 8:12, 8:12] = 1.0
    weight = torch.tensor(0.0, requires_grad=True)
    moved = replace(algorithm, lambda_reg=weight) if hasattr(algorithm, "lambda_reg") else algorithm
    at = make_problem(PoissonFidelity(), A, (50 * A.A(x)).round() / 50, Tikhonov())
    found = iterate(moved, at, 30)
    assert found.isfinite().all() and (found > 0).all() and found[..., 20:, 20:].max() < 1e-4
    if moved is not algorithm:
        (slope,) = torch.autograd.grad(found.square().sum(), weight)
        assert slope.isfinite()
