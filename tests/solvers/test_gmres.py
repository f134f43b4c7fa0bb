"""GMRES for affine maps against a dense solve and scipy, each sample by itself."""

import math

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from unfold.errors import ConfigError
from unfold.solvers.fixed_point import FixedPoint
from unfold.solvers.gmres import GMRES
from unfold.solvers.result import Stopping


def matrices(batch: int, n: int, radius: float = 0.9) -> Tensor:
    """One matrix of that spectral radius for each sample."""
    M = normal(batch, n, n)
    return M * (radius / torch.linalg.eigvals(M).abs().amax(1))[:, None, None]


def solve(M: Tensor, b: Tensor, solver: GMRES, **limits: float) -> FixedPoint:
    chosen = {"tol": 1e-11, "max_iterations": 200, **limits}
    return solver.solve(lambda z: torch.einsum("bij,bj->bi", M, z) + b, b, Stopping(**chosen))


@pytest.mark.parametrize("restart", [1, 5, 30])
@pytest.mark.parametrize("every", [1, 3])
def test_it_ends_at_the_dense_solution(restart: int, every: int):
    M, b = matrices(3, 12, 0.6), normal(3, 12, seed=1)
    end = solve(M, b, GMRES(restart), every=every, max_iterations=900)
    want = torch.linalg.solve(torch.eye(12, dtype=DOUBLE) - M, b)
    assert end.converged.all() and difference(end.z, want) < 1e-9
    image = torch.einsum("bij,bj->bi", M, end.z) + b
    assert difference(end.image, image) < 1e-12
    residual = (image - end.z).norm(dim=1) / image.norm(dim=1)
    assert (residual <= 1.1e-11).all()
    assert torch.allclose(residual, end.residual, atol=1e-13)


def test_the_residuals_are_those_of_scipy():
    M, b = matrices(1, 20), normal(1, 20, seed=1)
    system = (torch.eye(20, dtype=DOUBLE) - M[0]).numpy()
    for k in (1, 4, 9):
        x, _ = scipy.sparse.linalg.gmres(
            system, b[0].numpy(), x0=b[0].numpy(), rtol=1e-15, restart=k, maxiter=1
        )
        end = solve(M, b, GMRES(30), tol=1e-15, max_iterations=k + 1)
        assert np.allclose(end.z[0], x, atol=1e-10) and int(end.iterations) == k + 1


def test_a_sample_does_not_depend_on_its_batch_and_stops_by_itself():
    M, b = matrices(4, 16), normal(4, 16, seed=1)
    M = M * torch.tensor([0.1, 0.5, 1.0, 1.05], dtype=DOUBLE)[:, None, None]
    b = b * torch.logspace(-12, 12, 4, dtype=DOUBLE)[:, None]
    whole = solve(M, b, GMRES(6), tol=1e-6)
    assert whole.converged.all() and len(set(whole.iterations.tolist())) > 2
    for i in range(4):
        one = solve(M[i : i + 1], b[i : i + 1], GMRES(6), tol=1e-6)
        assert difference(one.z, whole.z[i : i + 1]) < 1e-10
        assert one.iterations[0] == whole.iterations[i]


def test_the_estimated_error_becomes_the_largest_amplification():
    M, b = matrices(2, 10), normal(2, 10, seed=1)
    end = solve(M, b, GMRES(30), tol=1e-13)
    singular = torch.linalg.svdvals(torch.eye(10, dtype=DOUBLE) - M)[:, -1]
    # the last column may be missing, hence from below
    kappa = end.error / end.residual
    assert (kappa <= 1.001 / singular).all() and (kappa >= 0.5 / singular).all()


def test_an_accuracy_is_required_in_addition_to_the_tolerance():
    M, b = matrices(2, 24, 0.99), normal(2, 24, seed=1)
    want = torch.linalg.solve(torch.eye(24, dtype=DOUBLE) - M, b)
    for accuracy in (math.inf, 1e-3):
        end = solve(M, b, GMRES(), tol=1e-2, accuracy=accuracy)
        assert end.converged.all() and (end.error <= accuracy).all()
    assert ((end.z - want).norm(dim=1) <= 2e-3 * want.norm(dim=1)).all()


def test_a_budget_too_small_is_not_converged_and_a_singular_system_never():
    M, b = matrices(2, 12), normal(2, 12, seed=1)
    short = solve(M, b, GMRES(), max_iterations=4)
    assert not short.converged.any() and (short.iterations == 4).all()
    M[0] = torch.eye(12, dtype=DOUBLE)
    end = solve(M, b, GMRES(), max_iterations=40)
    assert end.converged.tolist() == [False, True] and end.z.isfinite().all()


def test_what_is_not_finite_is_diverged_and_does_not_change_the_others():
    b = normal(3, 5)
    grow = torch.tensor([0.0, 1.0, 0.0], dtype=DOUBLE)[:, None]
    end = GMRES().solve(
        lambda z: torch.where(grow > 0, torch.inf * z.abs(), 0.5 * z + b),
        b,
        Stopping(tol=1e-9, max_iterations=30),
    )
    assert end.converged.tolist() == [True, False, True]
    assert end.diverged.tolist() == [False, True, False]
    assert difference(end.z[[0, 2]], 2 * b[[0, 2]]) < 1e-8


def test_zero_needs_one_evaluation():
    end = GMRES().solve(lambda z: 0.5 * z, torch.zeros(2, 4), Stopping(tol=1e-9, max_iterations=9))
    assert end.converged.all() and (end.iterations == 1).all() and not end.z.any()


def test_a_restart_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"GMRES.restart = 0: must be at least 1"):
        GMRES(0)
