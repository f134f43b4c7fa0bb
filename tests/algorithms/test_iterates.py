"""The first five iterates of every algorithm against its formulas, written out by hand.

A test of convergence cannot see a wrong iteration that has the right fixed point.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, blur, difference, least_squares, normal, problem, run
from unfold.algorithms.admm import ADMM
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.priors.tv import TV, gradient, gradient_adjoint
from unfold.priors.wavelet import Wavelet, soft
from unfold.pytree import tensors

OPERATOR = blur(8, batch=2)
WAVELET = problem(OPERATOR, Wavelet("haar", 2), batch=2, noise=0.3)
VARIATION = problem(OPERATOR, TV(), batch=2, noise=0.3)
A, At, y = OPERATOR.A, OPERATOR.A_adjoint, WAVELET.y
LAM = 0.07
ALGORITHMS: dict[str, tuple[Algorithm[Any], Any]] = {
    "pgd": (PGD(stepsize=1.3, lambda_reg=LAM), WAVELET),
    "admm": (ADMM(stepsize=2.5, lambda_reg=LAM, beta=1.6), WAVELET),
    "pdhg": (PDHG(stepsize=0.6, stepsize_dual=1.4, lambda_reg=LAM, theta=0.7), WAVELET),
    "condat_vu": (CondatVu(stepsize=0.8, stepsize_dual=0.05, lambda_reg=LAM), VARIATION),
    "analysis_pdhg": (AnalysisPDHG(ratio=0.02, lambda_reg=LAM, beta=1.7), VARIATION),
}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def shrink(v: Tensor, w: float) -> Tensor:
    W = Wavelet("haar", 2)
    coarse, *details = W.transform(v)
    return W.inverse((coarse, *(soft(d, w) for d in details)))


def fit(z: Tensor, gamma: float) -> Tensor:
    """argmin γ/2 ‖Ax − y‖² + ½‖x − z‖², by a dense solve."""
    parts = []
    for i in range(2):
        one, position = OPERATOR.take(torch.tensor([i]), 2), slice(i, i + 1)
        shift = one.A(z[position])
        parts.append(z[position] + least_squares(one, y[position] - shift, 1 / gamma))
    return torch.cat(parts)


def ball(u: Tensor, radius: float) -> Tensor:
    return u / (u.square().sum(1, keepdim=True).sqrt() / radius).clamp(min=1)


def pgd(k: int) -> Tensor:
    x = At(y)
    for _ in range(k):
        x = shrink(x - 1.3 * At(A(x) - y), 1.3 * LAM)
    return x


def admm(k: int) -> Tensor:
    z, u = At(y), torch.zeros_like(At(y))
    for _ in range(k):
        x = fit(z - u, 2.5)
        mixed = 1.6 * x - 0.6 * z
        z = shrink(mixed + u, 2.5 * LAM)
        u = u + mixed - z
    return z


def pdhg(k: int) -> Tensor:
    x = x_bar = At(y)
    u = torch.zeros_like(y)
    for _ in range(k):
        u = (u + 1.4 * A(x_bar) - 1.4 * y) / 2.4
        new = shrink(x - 0.6 * At(u), 0.6 * LAM)
        x, x_bar = new, new + 0.7 * (new - x)
    return x


def condat_vu(k: int) -> Tensor:
    x = At(y).clamp(0, 1)
    u = 0 * gradient(x)
    for _ in range(k):
        new = (x - 0.8 * At(A(x) - y) - 0.8 * gradient_adjoint(u)).clamp(0, 1)
        u = ball(u + 0.05 * gradient(2 * new - x), LAM)
        x = new
    return x


def analysis_pdhg(k: int) -> Tensor:
    tau = 0.02 / LAM
    sigma = 1 / (tau * 9)
    x, u, q = At(y), 0 * gradient(At(y)), 0 * At(y)
    for _ in range(k):
        x1 = fit(x - tau * (gradient_adjoint(u) + q), tau)
        u1 = ball(u + sigma * gradient(2 * x1 - x), LAM)
        pushed = q + sigma * (2 * x1 - x)
        q1 = torch.where(pushed > sigma, pushed - sigma, torch.where(pushed < 0, pushed, 0.0))
        x, u, q = (a + 1.7 * (b - a) for a, b in ((x, x1), (u, u1), (q, q1)))
    return x.clamp(0, 1)


BY_HAND: dict[str, Callable[[int], Tensor]] = {
    "pgd": pgd,
    "admm": admm,
    "pdhg": pdhg,
    "condat_vu": condat_vu,
    "analysis_pdhg": analysis_pdhg,
}


@every_algorithm
def test_the_first_iterates_are_those_of_the_formulas(name: str):
    algorithm, at = ALGORITHMS[name]
    for k in range(6):
        got = algorithm.image(run(algorithm, at, k))
        assert difference(got, BY_HAND[name](k)) < 1e-12, f"iterate {k}"


@every_algorithm
def test_a_step_is_pure(name: str):
    algorithm, at = ALGORITHMS[name]
    state = run(algorithm, at, 2)
    before = [t.clone() for t in (*tensors(state), *tensors(at))]
    first, second = algorithm.step(state, at), algorithm.step(state, at)
    assert all(map(torch.equal, tensors(first), tensors(second)))
    assert all(map(torch.equal, before, (*tensors(state), *tensors(at))))
    kinds = [(t.shape, t.dtype) for t in tensors(state)]
    assert [(t.shape, t.dtype) for t in tensors(first)] == kinds


@every_algorithm
def test_an_image_does_not_depend_on_its_batch(name: str):
    algorithm, at = ALGORITHMS[name]
    tight = TV() if name in ("condat_vu", "analysis_pdhg") else Wavelet("haar", 2)
    whole = algorithm.image(run(algorithm, at, 20))
    for i in range(2):
        one = problem(OPERATOR.take(torch.tensor([i]), 2), tight, y=y[i : i + 1])
        alone = algorithm.image(run(algorithm, one, 20))
        assert difference(alone, whole[i : i + 1]) < 1e-12


def test_the_first_data_step_of_admm_uses_the_start():
    algorithm, at = ALGORITHMS["admm"]
    start = algorithm.init(at)
    moved = start._replace(z=start.z + normal(2, 1, 8, 8))
    assert difference(algorithm.step(moved, at).x, fit(moved.z, 2.5)) < 1e-12
    assert difference(algorithm.step(moved, at).x, algorithm.step(start, at).x) > 0.1


@every_algorithm
def test_a_step_for_each_image_is_a_step_with_its_number(name: str):
    algorithm, at = ALGORITHMS[name]
    lams = torch.tensor([0.01, 0.3], dtype=DOUBLE).reshape(2, 1, 1, 1)
    both = type(algorithm)(lambda_reg=lams)
    got = both.image(run(both, at, 5))
    for i in range(2):
        one = type(algorithm)(lambda_reg=lams[i].item())
        assert difference(got[i], one.image(run(one, at, 5))[i]) < 1e-12
