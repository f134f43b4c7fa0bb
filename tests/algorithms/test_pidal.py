"""Every term by itself: total variation, a box and counts at once, against SciPy."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.algorithms.small import (
    COUNTS,
    MATRIX,
    SIZE,
    Dense,
    M,
    Y,
    dense_problem,
    differences,
    image,
    lasso,
    soft,
    total_variation,
)
from tests.engine import blur, difference, iterate, measured, normal, problem, reconstructor, run
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.davis_yin import DavisYin
from unfold.algorithms.pidal import PIDAL
from unfold.errors import ConfigError
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.models.classical import Classical
from unfold.physics.denoising import Identity
from unfold.priors.box import Box
from unfold.priors.composite import Sum, Weighted
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tv import TV, Differences
from unfold.pytree import tensors
from unfold.solvers.conjugate_gradient import SumSystem, solve_sum

LINE = (1, 1, SIZE)
D = differences(SIZE)
y = Y[0].numpy()


def by_hand(k: int) -> np.ndarray:
    """Total variation in a row, an ℓ1 norm, and the box [0, 2]."""
    gamma, gamma_d, w = 0.8, 1.7, 0.8 * 0.3
    x = M.T @ y
    v = [M @ x, D @ x, x, x.clip(0, 2)]
    u = [np.zeros_like(a) for a in v]
    H = np.eye(SIZE) * 2 + D.T @ D + gamma / gamma_d * M.T @ M
    for _ in range(k):
        b = gamma / gamma_d * M.T @ (v[0] - u[0]) + D.T @ (v[1] - u[1])
        x = np.linalg.solve(H, b + v[2] - u[2] + v[3] - u[3])
        q = [M @ x + u[0], D @ x + u[1], x + u[2], x + u[3]]
        v = [(q[0] + gamma_d * y) / (1 + gamma_d), soft(q[1], w), soft(q[2], w), q[3].clip(0, 2)]
        u = [a - b for a, b in zip(q, v, strict=True)]
    return v[3]


def test_the_first_iterates_are_those_of_the_formulas():
    at = dense_problem(Sum((TV(), L1())), shape=LINE)
    algorithm = PIDAL(0.8, 1.7, 0.3, low=0.0, high=2.0)
    state = algorithm.init(at)
    for k in range(6):
        assert difference(algorithm.image(state), image(by_hand(k), LINE)) < 1e-9, f"iterate {k}"
        before = [t.clone() for t in tensors(state)]
        new = algorithm.step(state, at)
        assert all(map(torch.equal, before, tensors(state)))
        assert [t.shape for t in tensors(new)] == [t.shape for t in before]
        state = new


def test_without_an_active_box_it_ends_at_known_minimisers():
    wide = PIDAL(1.0, 1.0, 0.3, low=-99.0, high=99.0)
    for prior, want in (
        (L1(), lasso(y, 0.3)),
        (Weighted(TV(), 0.5), total_variation(M, y, 0.15)),
    ):
        found = iterate(wide, dense_problem(prior, shape=LINE), 70)
        assert difference(found, image(want, LINE)) < 1e-7, prior
    assert (np.abs(D @ total_variation(M, y, 0.3)) < 1e-9).any()  # a flat piece


def scipy_minimum(value, slope, lam: float, high: float) -> np.ndarray:
    """argmin value(x) + λ Σt with |Dx| ≤ t and 0 ≤ x ≤ high."""
    n = SIZE
    cost = np.concatenate((np.zeros(n), lam * np.ones(n - 1)))
    both = np.block([[-D, np.eye(n - 1)], [D, np.eye(n - 1)]])
    found = minimize(
        lambda z: value(z[:n]) + cost @ z,
        np.ones(2 * n - 1),
        jac=lambda z: np.concatenate((slope(z[:n]), np.zeros(n - 1))) + cost,
        bounds=[(0.0, high)] * n + [(0.0, None)] * (n - 1),
        constraints={"type": "ineq", "fun": lambda z: both @ z, "jac": lambda z: both},
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 1000},
    )
    return np.asarray(found.x[:n])


def test_total_variation_a_box_and_counts_at_once():
    counts, high, lam, b = COUNTS[0].numpy(), 3.0, 0.15, 0.3

    def value(x: np.ndarray) -> float:
        v = M @ x + b
        return float((v - counts * np.log(v)).sum())

    want = scipy_minimum(value, lambda x: M.T @ (1 - counts / (M @ x + b)), lam, high)
    assert (want > high - 1e-6).any() and (want < high - 1e-2).any()  # the box is met
    at = dense_problem(TV(), PoissonFidelity(b), y=COUNTS, shape=LINE)
    found = iterate(PIDAL(5.0, 5.0, lam, low=0.0, high=high), at, 90)
    assert difference(found, image(want, LINE)) < 1e-6


def test_a_box_in_the_prior_is_the_box_of_the_algorithm_and_davis_yin_agrees():
    want = scipy_minimum(
        lambda x: float(((M @ x - y) ** 2).sum() / 2), lambda x: M.T @ (M @ x - y), 0.2, 0.8
    )
    prior = Sum((TV(tol=1e-9, max_iterations=500), Box(0.0, 0.8)))
    inside = dense_problem(prior, shape=LINE)
    outside = dense_problem(TV(), shape=LINE)
    found = (
        iterate(PIDAL(1.0, 1.0, 0.2, low=-99.0, high=99.0), inside, 70).clamp(0, 0.8),
        iterate(PIDAL(1.0, 1.0, 0.2, low=0.0, high=0.8), outside, 70),
        iterate(DavisYin(1.0 / float(inside.norm_squared), 0.2), inside, 15),
    )
    for x, close in zip(found, (1e-5, 1e-5, 1e-3), strict=True):  # Davis–Yin's prox is inexact
        assert difference(x, image(want, LINE)) < close


def test_on_images_it_agrees_with_the_other_methods_for_total_variation():
    at = problem(blur(6, gain=3.0), TV(), noise=0.2)
    norm = float(at.norm_squared)
    one = iterate(PIDAL(4.0, norm, 0.1), at, 90)
    other = iterate(AnalysisPDHG(lambda_reg=0.1), at, 250)
    assert difference(one, other) < 1e-3 and (one.min() == 0 or one.max() == 1)


def test_the_system_is_solved_and_its_gradient_is_that_of_the_dense_one():
    A = Dense(MATRIX.clone().requires_grad_(), LINE)
    ratio = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    b = normal(1, *LINE).requires_grad_()
    own = Identity(LINE)
    terms = ((A, ratio), (Differences(), 1.0), (own, 1.0), (own, 1.0))
    x = solve_sum(SumSystem(terms), b)
    H = 2 * torch.eye(SIZE) + torch.from_numpy(D.T @ D) + ratio * A.matrix[0].mT @ A.matrix[0]
    want = torch.linalg.solve(H, b.flatten()).reshape(x.shape)
    assert difference(x, want) < 1e-11
    weights = normal(*x.shape, seed=3)
    at = [b, ratio, A.matrix]
    got = torch.autograd.grad((weights * x).sum(), at)
    for g, w in zip(got, torch.autograd.grad((weights * want).sum(), at), strict=True):
        assert difference(g, w) < 1e-9


def test_only_a_weight_that_the_system_does_not_hold_can_be_learned():
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    at = dense_problem(Weighted(TV(), weight), shape=LINE)
    found = iterate(PIDAL(1.0, 1.0, 0.2, low=-99.0, high=99.0), at, 5)
    (slope,) = torch.autograd.grad(found.sum(), weight)
    moved = []
    for w in (0.5 + 1e-6, 0.5 - 1e-6):
        at = dense_problem(Weighted(TV(), w), shape=LINE)
        moved.append(iterate(PIDAL(1.0, 1.0, 0.2, low=-99.0, high=99.0), at, 5).sum())
    assert float(slope) == pytest.approx(float(moved[0] - moved[1]) / 2e-6, rel=1e-5)


def test_each_image_of_a_batch_has_its_own_answer():
    A, y2 = blur(6, batch=2), measured(blur(6, batch=2), batch=2)
    whole = iterate(PIDAL(), problem(A, TV(), y=y2), 5)
    for i in range(2):
        one = problem(A.take(torch.tensor([i]), 2), TV(), y=y2[i : i + 1])
        assert difference(iterate(PIDAL(), one, 5), whole[i : i + 1]) < 1e-9


def test_converged_means_that_the_splits_agree():
    net = reconstructor(PIDAL(lambda_reg=0.05), Classical(1e-3, 200, every=5), TV())
    solution = net.solve(measured(blur(6)), blur(6))
    assert solution.converged.all()
    state = solution.state
    assert difference(state.box.v, state.x) < 1e-2
    assert difference(state.terms[0].v, TV().analysis.forward(state.x)) < 1e-2


def test_ranges_and_refusals():
    at = dense_problem(L1())
    assert PIDAL(1e-6, 1e6).guarantee(at).holds
    net = reconstructor(PIDAL(), Classical(), TV())
    assert net.guarantee(measured(blur(6)), blur(6)).holds
    with pytest.raises(ConfigError, match=r"PIDAL needs low < high, got \[1.0, 0.0\]"):
        PIDAL(low=1.0, high=0.0)

    class Nothing(Prior):
        provides = frozenset({"grad"})

    with pytest.raises(ConfigError, match=r"each term of the prior, and Nothing has neither"):
        PIDAL().init(dense_problem(Nothing(), L2()))
    assert run(PIDAL(), at, 0).terms[0].v.shape == at.start.shape
