"""Where every algorithm ends: closed forms, KKT residuals, agreement, gaps, guarantees."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine import (
    DOUBLE,
    blur,
    difference,
    iterate,
    least_squares,
    normal,
    problem,
    reconstructor,
    run,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.fidelities.amplitude import Amplitude
from unfold.fidelities.robust import Huber, L1Fidelity
from unfold.models.unfolded import Unfolded
from unfold.physics.inpainting import Mask
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV, gradient
from unfold.priors.wavelet import Wavelet
from unfold.problem import Problem, make_problem

LAM = 0.13
PROXIMAL: dict[str, Algorithm[Any]] = {
    "pgd": PGD(stepsize=1.9, lambda_reg=LAM),
    "admm": ADMM(stepsize=3.0, lambda_reg=LAM, beta=1.5),
    "pdhg": PDHG(stepsize=0.97, stepsize_dual=0.97, lambda_reg=LAM),
}
proximal = pytest.mark.parametrize("name", PROXIMAL)


@proximal
def test_ridge_regression_has_its_closed_form(name: str):
    A = blur(6)
    at = problem(A, Tikhonov())
    want = least_squares(A, at.y, LAM)
    assert difference(iterate(PROXIMAL[name], at, 300), want) < 1e-10


@proximal
def test_with_hardly_any_prior_it_is_least_squares(name: str):
    weights = 0.6 + 0.4 * torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    A = Mask(weights.double() / weights.max())
    at = problem(A, Tikhonov())
    algorithm = type(PROXIMAL[name])(lambda_reg=1e-12)
    assert difference(iterate(algorithm, at, 300), at.y / A.mask) < 1e-9


def kkt(x: Tensor, at: Problem, lam: float) -> float:
    """‖x − prox_{λg}(x − ∇f(x))‖, relative: 0 exactly at the minimiser."""
    return difference(at.g.prox(x - at.f.grad(x), lam), x)


@proximal
def test_wavelet_lasso_ends_at_one_point_which_is_the_minimiser(name: str):
    at = problem(blur(8), Wavelet("db2", 1), noise=0.2)
    x = iterate(PROXIMAL[name], at, 300)
    assert kkt(x, at, LAM) < 1e-10
    assert difference(x, iterate(PGD(stepsize=1.0, lambda_reg=LAM), at, 200)) < 1e-10


def objective(x: Tensor, at: Problem, lam: float) -> Tensor:
    return at.f.value(x) + lam * at.g.value(x)


def test_the_algorithms_for_total_variation_agree():
    at = problem(blur(6), TV(), noise=0.02)
    found = {
        "analysis_pdhg": iterate(AnalysisPDHG(ratio=0.05, lambda_reg=0.02), at, 400),
        "condat_vu": iterate(CondatVu(lambda_reg=0.02), at, 400),
    }
    a, b = found.values()
    assert difference(a, b) < 1e-9
    assert a.min() > 0.01 and a.max() < 0.99  # the box is idle, so that the next has it too
    with torch.no_grad():
        loose = problem(blur(6), TV(tol=1e-6, max_iterations=2000), noise=0.02)
        assert difference(iterate(ADMM(stepsize=3.0, lambda_reg=0.02), loose, 25), a) < 1e-3


@pytest.mark.parametrize("algorithm", [CondatVu(lambda_reg=0.05), AnalysisPDHG(lambda_reg=0.05)])
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_the_gap_is_never_below_the_true_suboptimality(algorithm: Any, noise: float):
    at = problem(blur(6, batch=2), TV(), batch=2, noise=noise)
    best = objective(iterate(AnalysisPDHG(lambda_reg=0.05), at, 600), at, 0.05)
    gaps = []
    for k in (0, 1, 5, 20, 100, 300):
        state = run(algorithm, at, k)
        primal = objective(algorithm.image(state), at, 0.05)
        gap = algorithm.relative_gap(state, at)
        assert (gap >= -1e-15).all() and (gap >= (primal - best) / primal - 1e-12).all()
        gaps.append(float(gap.max()))
    assert gaps[-1] < 1e-5 and gaps[-1] < 1e-2 * gaps[1]


def test_the_gap_closes_for_every_smooth_convex_fidelity_and_for_no_other():
    at = problem(blur(6, batch=2), TV(), batch=2, noise=0.05)
    for fidelity, closes in ((Huber(0.05), True), (Amplitude(), False), (L1Fidelity(), False)):
        own = make_problem(fidelity, at.f.operator, at.y.abs(), TV())
        algorithm = CondatVu(lambda_reg=0.02)
        state = run(CondatVu(lambda_reg=0.02), at, 1)
        if not closes:
            assert algorithm.relative_gap(state, own) is None
            continue
        gap = algorithm.relative_gap(run(algorithm, own, 3000), own)
        assert gap is not None and (gap > -1e-12).all() and (gap < 1e-6).all()


@pytest.mark.parametrize("gain", [0.3, 1.0, 4.0])
def test_guarantees_hold_up_to_their_edge_and_not_beyond(gain: float):
    at = problem(blur(6, gain=gain), TV())
    norm = float(at.norm_squared)
    for algorithm, holds in (
        (PGD(stepsize=1.999 / norm), True),
        (PGD(stepsize=2.001 / norm), False),
        (ADMM(stepsize=1e6, beta=1.99), True),
        (ADMM(beta=2.0), False),
        (ADMM(beta=0.0), False),
        (PDHG(stepsize=0.999 / norm, stepsize_dual=1.0), True),
        (PDHG(stepsize=1.001 / norm, stepsize_dual=1.0), False),
        (PDHG(stepsize=0.1 / norm, stepsize_dual=1.0, theta=0.9), False),
        (CondatVu(stepsize=1.0 / norm, stepsize_dual=0.0624 * norm), True),
        (CondatVu(stepsize=1.0 / norm, stepsize_dual=0.0626 * norm), False),
        (AnalysisPDHG(beta=1.99), True),
        (AnalysisPDHG(beta=2.0), False),
    ):
        assert algorithm.guarantee(at).holds is holds, algorithm


def test_pgd_diverges_beyond_its_guarantee_and_not_before():
    at = problem(blur(6), Tikhonov())
    far = [iterate(PGD(stepsize=t, lambda_reg=1e-9), at, 400).abs().max() for t in (1.99, 2.1)]
    assert far[0] < 1e2 < 1e6 < far[1]


@pytest.mark.parametrize("algorithm", [PGD(), ADMM(), PDHG(), CondatVu(), AnalysisPDHG()])
@pytest.mark.parametrize("gain", [0.1, 0.5, 1.0, 3.0])
def test_the_defaults_keep_their_guarantee_for_every_norm(algorithm: Any, gain: float):
    A = blur(6, batch=2, gain=gain)
    prior = TV() if "analysis" in algorithm.needs_g else Wavelet("haar", 1)
    net = reconstructor(algorithm, Unfolded(2), prior, learn=[])
    assert net.guarantee(A.A(normal(2, 1, 6, 6)), A).holds


def test_a_relative_step_really_scales_with_the_norm():
    for gain in (0.2, 1.0, 5.0):
        A = blur(6, gain=gain)
        y = A.A(normal(1, 1, 6, 6))
        relative = reconstructor(PGD(stepsize=0.8), Unfolded(3), learn=[])
        norm = float(A.norm_squared)
        absolute = reconstructor(PGD(stepsize=0.8 / norm), Unfolded(3), learn=[], relative=[])
        assert difference(relative(y, A), absolute(y, A)) < 1e-6
        algorithm, _ = relative.steps(y, A).at(0)
        assert difference(algorithm.stepsize * norm, torch.tensor(0.8, dtype=DOUBLE)) < 1e-6


def test_analysis_of_the_minimiser_is_optimal_for_total_variation():
    at = problem(blur(6), TV(), noise=0.02)
    algorithm = AnalysisPDHG(ratio=0.05, lambda_reg=0.02)
    state = run(algorithm, at, 400)
    u = at.g.project(state.u, 0.02)
    d = gradient(algorithm.image(state))
    # ∇f + D*u = 0 in the interior of the box, and u = λ Dx/‖Dx‖ where Dx is not 0
    optimal = at.f.grad(state.x) + at.g.analysis.adjoint(u)
    assert optimal.abs().max() < 1e-7
    size = d.square().sum(1, keepdim=True).sqrt()
    assert ((u * size - 0.02 * d).abs() < 1e-7).all()
