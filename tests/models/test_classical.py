"""The textbook run: honest certificates, each image by itself."""

from typing import Any

import pytest
import torch

from tests.engine import blur, difference, iterate, measured, problem, reconstructor
from unfold.algorithms.admm import ADMM
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError
from unfold.models.classical import Classical, objective
from unfold.priors.tv import TV
from unfold.priors.wavelet import Wavelet

LAM = 0.05

ALGORITHMS: dict[str, tuple[Any, Any]] = {
    "pgd": (PGD(lambda_reg=LAM), Wavelet("haar", 1)),
    "admm": (ADMM(lambda_reg=LAM), Wavelet("haar", 1)),
    "pdhg": (PDHG(lambda_reg=LAM), Wavelet("haar", 1)),
    "condat_vu": (CondatVu(lambda_reg=LAM), TV()),
    "analysis_pdhg": (AnalysisPDHG(lambda_reg=LAM), TV()),
}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)
SIZES = [0.05, 1.0, 0.4]


def batch() -> tuple[Any, Any]:
    A = blur(8, batch=3)
    sizes = torch.tensor(SIZES, dtype=torch.float64).reshape(3, 1, 1, 1)
    return A, sizes * measured(A, batch=3)


@every_algorithm
def test_each_image_stops_by_itself_and_keeps_its_answer(name: str):
    algorithm, prior = ALGORITHMS[name]
    A, y = batch()
    tol = 1e-3 if isinstance(prior, TV) else 1e-6
    net = reconstructor(algorithm, Classical(tol=tol, max_iterations=600, every=5), prior)
    whole = net.solve(y, A, keep_iterates=True)
    assert whole.converged.all() and not whole.image.requires_grad
    for i in range(3):
        one = net.solve(y[i : i + 1], A.take(torch.tensor([i]), 3))
        assert difference(one.image, whole.image[i : i + 1]) < 1e-10
        assert one.iterations[0] == whole.iterations[i]
        own, _ = net.steps(y, A).at(0)
        plain = iterate(own, problem(A, prior, y=y), int(whole.iterations[i]))
        assert difference(plain[i], whole.image[i]) < 1e-10
    assert len(whole.iterates) == int(whole.iterations.max()) + 1
    assert torch.equal(whole.iterates[-1], whole.image)


@pytest.mark.parametrize("name", ["condat_vu", "analysis_pdhg"])
def test_a_gap_below_the_tolerance_is_a_gap_below_the_tolerance(name: str):
    algorithm, prior = ALGORITHMS[name]
    A, y = batch()
    tight = reconstructor(AnalysisPDHG(), Classical(tol=1e-7, max_iterations=900), prior)
    best = tight(y, A)
    f = problem(A, prior, y=y).f

    def objective(x: torch.Tensor) -> torch.Tensor:
        return f.value(x) + LAM * prior.value(x)

    for tol in (1e-2, 1e-4):
        net = reconstructor(algorithm, Classical(tol=tol, max_iterations=900, every=5), prior)
        solution = net.solve(y, A)
        assert solution.converged.all() and (solution.gap <= tol).all()
        true = (objective(solution.image) - objective(best)) / objective(solution.image)
        # the values of the buffers were rounded to float32, hence 1e-6
        assert (true <= solution.gap + 1e-6).all()


@pytest.mark.parametrize("name", ["pgd", "admm", "pdhg"])
def test_converged_without_a_gap_means_a_small_kkt_residual(name: str):
    algorithm, prior = ALGORITHMS[name]
    A, y = batch()
    net = reconstructor(algorithm, Classical(tol=1e-7, max_iterations=900, every=1), prior)
    solution = net.solve(y, A)
    assert solution.converged.all() and solution.gap is None
    f = problem(A, prior, y=y).f
    x = solution.image
    defect = prior.prox(x - f.grad(x), LAM) - x
    relative = defect.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    assert (relative < 1e-6).all()


def test_what_diverges_is_not_converged_and_leaves_the_others_alone():
    A, y = batch()
    y = y.clone()
    y[1] = float("nan")
    net = reconstructor(PGD(), Classical(tol=1e-6, every=5), Wavelet("haar", 1))
    solution = net.solve(y, A)
    assert solution.converged.tolist() == [True, False, True]
    assert solution.image[[0, 2]].isfinite().all()


def test_a_budget_too_small_is_not_converged():
    A, y = batch()
    net = reconstructor(PGD(), Classical(tol=1e-12, max_iterations=3), Wavelet("haar", 1))
    solution = net.solve(y, A)
    assert not solution.converged.any() and solution.iterations.tolist() == [3, 3, 3]


def test_nothing_is_learned():
    net = reconstructor(PGD(), Classical(), Wavelet("haar", 1))
    assert not list(net.parameters())


def test_settings_without_meaning_are_refused():
    for call, words in (
        (lambda: Classical(tol=0.0), "Classical.tol = 0.0: must be positive"),
        (lambda: Classical(max_iterations=0), "Classical.max_iterations = 0"),
        (lambda: Classical(every=0), "Classical.every = 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            call()


def test_the_history_has_the_residual_at_every_check_and_the_objective_goes_down():
    A = blur(batch=2)
    net = reconstructor(PGD(stepsize=0.9, lambda_reg=0.1), Classical(tol=1e-10, every=5))
    y = measured(A, batch=2)
    solution = net.solve(y, A, keep_iterates=True)
    assert [look.iteration for look in solution.history[:3]] == [5, 10, 15]
    assert torch.equal(solution.history[-1].residual, solution.residual)
    algorithm, problem = net.steps(y, A).at(0)
    values = torch.stack([objective(algorithm, problem, x) for x in solution.iterates[::5]])
    assert bool((values.diff(dim=0) <= 1e-12).all()) and float(values[0, 0] - values[-1, 0]) > 1e-6
    x = solution.image
    want = 0.5 * (A.A(x) - y).square().flatten(1).sum(1) + 0.05 * x.square().flatten(1).sum(1)
    assert difference(values[-1], want) < 1e-7  # λ = 0.1 was kept in single precision
