"""Where they end: minimisers found in other ways, accelerated rates, honest flags."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from tests.algorithms.small import (
    MATRIX,
    NORM,
    SIZE,
    Dense,
    M,
    Y,
    dense_problem,
    image,
    lasso,
    ridge,
)
from tests.engine import DOUBLE, difference, iterate, reconstructor
from unfold.algorithms.admm import ADMM
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.davis_yin import DavisYin
from unfold.algorithms.drs import DRS
from unfold.algorithms.fista import FISTA
from unfold.algorithms.gd import GD
from unfold.algorithms.heavy_ball import HeavyBall
from unfold.algorithms.hqs import HQS
from unfold.algorithms.landweber import Landweber
from unfold.algorithms.pdhg import PDHG
from unfold.errors import ConfigError
from unfold.models.classical import Classical
from unfold.models.unfolded import Unfolded
from unfold.parameters.schedules import BeckTeboulle, ChambolleDossal, Geometric
from unfold.priors.box import Box, NonNegative
from unfold.priors.composite import Sum
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import Problem

LAM, TAU = 0.2, 1.1 / NORM
y = Y[0].numpy()
FREE = Box(-np.inf, np.inf)


PROXIMAL: dict[str, Algorithm[Any]] = {
    "fista": FISTA(1 / NORM, LAM, 0.6),
    "drs": DRS(1.0, LAM, 1.7),
    "admm": ADMM(1.0, LAM),
    "pdhg": PDHG(0.95 / NORM**0.5, 0.95 / NORM**0.5, LAM, beta=1.6),
}


@pytest.mark.parametrize("name", PROXIMAL)
def test_it_ends_at_the_minimiser_found_otherwise(name: str):
    algorithm = PROXIMAL[name]
    for prior, want in (
        (L1(), lasso(y, LAM)),
        (Tikhonov(), ridge(y, LAM)),
        (NonNegative(), nnls(M, y)[0]),
    ):
        assert difference(iterate(algorithm, dense_problem(prior), 150), image(want)) < 1e-9
    assert (lasso(y, LAM) == 0).any() and (nnls(M, y)[0] == 0).any()  # the kinks are met


def test_gradient_methods_end_at_the_minimiser():
    at = dense_problem(Tikhonov())
    for algorithm in (GD(1.9 / (NORM + LAM), LAM), HeavyBall(0.9 / (NORM + LAM), LAM, 0.5)):
        assert difference(iterate(algorithm, at, 500), image(ridge(y, LAM))) < 1e-9
    want = image(np.linalg.lstsq(M, y, rcond=None)[0])
    assert difference(iterate(Landweber(1.9 / NORM), at, 500), want) < 1e-9


def test_three_operators_end_at_the_minimiser_of_all_three():
    at = dense_problem(Sum((L1(), NonNegative())))
    want = image(lasso(y, LAM, signed=False))
    for algorithm in (DavisYin(1.9 / NORM, LAM), DavisYin(0.5 / NORM, LAM, 1.7)):
        assert difference(iterate(algorithm, at, 500), want) < 1e-9
    with pytest.raises(ConfigError, match=r"a prior of two terms, got \['L1', 'L1', 'L1'\]"):
        DavisYin().init(dense_problem(Sum((L1(), L1(), L1()))))


def test_half_quadratic_splitting_minimises_with_the_envelope_and_not_without():
    gamma = 0.8
    inner = np.linalg.inv(np.eye(8) + gamma * M @ M.T)
    want = np.linalg.solve(M.T @ inner @ M + LAM * np.eye(SIZE), M.T @ inner @ y)
    found = iterate(HQS(gamma, LAM), dense_problem(Tikhonov()), 300)
    assert difference(found, image(want)) < 1e-12
    assert difference(found, image(ridge(y, LAM))) > 1e-2


def test_a_falling_step_leads_half_quadratic_splitting_towards_the_minimiser():
    prior, want = L1(), image(lasso(y, LAM))
    errors = []
    for stop in (1.0, 0.1, 0.01):
        schedule = Geometric(1.0, stop, 60)
        net = reconstructor(HQS(schedule, LAM), Unfolded(300), prior, learn=[], relative=[])
        errors.append(difference(net(Y, Dense(MATRIX)), want))
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


def objective(x: Tensor, at: Problem, lam: float) -> float:
    return float((at.f.value(x) + lam * at.g.value(x)).item())


def test_the_accelerated_rates_hold_where_the_plain_one_is_slower():
    n, lam = 30, 1e-7
    chain = torch.from_numpy(np.eye(n) - np.eye(n, k=-1))[None] / 2
    y1 = torch.zeros(1, n, dtype=DOUBLE)
    y1[0, 0] = 1.0
    at = dense_problem(L1(), y=y1, matrix=chain, shape=(1, 1, n))
    best = iterate(DRS(100.0, lam), at, 400)
    assert difference(at.g.prox(best - at.f.grad(best), lam), best) < 1e-9
    L, distance = 1.0, float((at.start - best).square().sum())

    def gaps(schedule: Any) -> list[float]:
        state, found = FISTA(1 / L, lam, 0.0).init(at), []
        for k in range(150):
            state = FISTA(1 / L, lam, schedule(k)).step(state, at)
            found.append(objective(state.x, at, lam) - objective(best, at, lam))
        return found

    def bound(a: float, k: int) -> float:
        return a * a * L * distance / (2 * (k + a - 1) ** 2)

    for a in (2.1, 3.0, 5.0):
        found = gaps(ChambolleDossal(a).at)
        assert all(gap <= bound(a, k) for k, gap in enumerate(found, 1)), a
    found = gaps(BeckTeboulle().at)
    assert all(gap <= 2 * L * distance / (k + 1) ** 2 for k, gap in enumerate(found, 1))
    plain = gaps(lambda k: 0.0)
    assert plain[-1] > bound(2.1, 150)


CONVERGED: dict[str, tuple[Algorithm[Any], Prior]] = {
    "gd": (GD(lambda_reg=LAM), Tikhonov()),
    "heavy_ball": (HeavyBall(lambda_reg=LAM), Tikhonov()),
    "fista": (FISTA(lambda_reg=LAM), L1()),
    "drs": (DRS(lambda_reg=LAM), L1()),
    "davis_yin": (DavisYin(lambda_reg=LAM), Sum((FREE, L1()))),
    "pdhg": (PDHG(lambda_reg=LAM, beta=1.5), L1()),
}


@pytest.mark.parametrize("name", CONVERGED)
@pytest.mark.parametrize("tol", [1e-4, 1e-7])
def test_converged_means_a_small_kkt_residual(name: str, tol: float):
    algorithm, prior = CONVERGED[name]
    net = reconstructor(algorithm, Classical(tol=tol, max_iterations=2000, every=1), prior)
    solution = net.solve(Y, Dense(MATRIX))
    assert solution.converged.all()
    x = solution.image
    at = dense_problem(Tikhonov() if isinstance(prior, Tikhonov) else L1())
    assert difference(at.g.prox(x - at.f.grad(x), LAM), x) < 10 * tol
