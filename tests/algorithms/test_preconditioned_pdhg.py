"""PDHG with a dual step for each measurement."""

import numpy as np

from tests.algorithms.small import COUNTS, MATRIX, SIZE, Dense, M, dense_problem, image, lasso
from tests.engine import difference, iterate, normal, reconstructor
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.preconditioned_pdhg import PreconditionedPDHG
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.physics.denoising import Identity
from unfold.priors.l1 import L1
from unfold.problem import make_problem

y = COUNTS[0].numpy()
START, ONES = M.T @ y, M.T @ np.ones(8)


def test_the_dual_steps_are_the_inverse_sums_of_the_rows():

    x = u = None
    sigma, tau = 1.0 / (M @ np.ones(SIZE)), 0.9 / ONES.max()
    x, x_bar, u = START, START, np.zeros(8)
    for k in range(6):
        got = iterate(PreconditionedPDHG(0.9, 1.0, 0.2, 1.5), dense_problem(L1(), y=COUNTS), k)
        assert difference(got, image(x)) < 1e-12
        u = u + 1.5 * ((u + sigma * (M @ x_bar) - sigma * y) / (1 + sigma) - u)
        v = x - tau * M.T @ u
        new = np.sign(v) * np.maximum(np.abs(v) - 0.2 * tau, 0)
        x, x_bar = x + 1.5 * (new - x), 2 * new - x
    at = make_problem(L2(), Identity((1, 4, 4)), normal(1, 1, 4, 4), L1())
    one, other = PreconditionedPDHG(0.9, 0.8, 0.2), PDHG(0.9, 0.8, 0.2)
    assert difference(iterate(one, at, 9), iterate(other, at, 9)) < 1e-12


def test_row_scaled_pdhg_ends_at_the_minimiser_where_rows_differ_in_size():

    at = dense_problem(L1(), y=COUNTS)
    found = iterate(PreconditionedPDHG(0.99, 1.0, 0.2, 1.6), at, 600)
    assert difference(found, image(lasso(y, 0.2))) < 1e-9
    net = reconstructor(PreconditionedPDHG(), Classical(), L1())
    for gain in (0.1, 3.0):
        assert net.guarantee(gain * COUNTS, Dense(gain * MATRIX)).holds
    for stepsize, beta, holds in ((0.99, 1.9, True), (1.01, 1.0, False), (0.9, 2.0, False)):
        assert PreconditionedPDHG(stepsize, 1.0, beta=beta).guarantee(at).holds is holds
