"""Fixed-point iterations: honest flags, no stuck restarts, acceleration that pays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.engine import (
    DOUBLE,
    blur,
    difference,
    inpainting,
    measured,
    network_prior,
    normal,
    problem,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ConfigError
from unfold.physics.blur.convolution import CircularConvolution
from unfold.priors.denoiser_priors import PnP
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.wavelet import Wavelet
from unfold.solvers.acceleration import Anderson, Broyden, Nesterov
from unfold.solvers.fixed_point import Picard, Solver, fixed_point, pack, unpack
from unfold.solvers.result import Stopping

SOLVERS: dict[str, Solver] = {
    "picard": Picard(),
    "anderson": Anderson(),
    "broyden": Broyden(),
    "nesterov": Nesterov(),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


class State(NamedTuple):
    a: Tensor
    b: Tensor


def test_packing_and_back_is_the_identity_for_real_and_complex_fields():
    state = State(normal(2, 1, 3, 4), normal(2, 5, dtype=torch.complex128))
    z = pack(state)
    assert z.shape == (2, 22) and z.dtype == DOUBLE
    back = unpack(z, state)
    assert torch.equal(back.a, state.a) and torch.equal(back.b, state.b)
    assert isinstance(back, State)


def linear(radius: float, n: int = 8, seed: int = 0) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """z ↦ Mz + b with the spectral radius of M given, and its fixed point."""
    M = normal(n, n, seed=seed)
    M = M * (radius / torch.linalg.eigvals(M).abs().max())
    b = normal(1, n, seed=seed + 1)
    return (lambda z: z @ M.mT + b), torch.linalg.solve(torch.eye(n, dtype=DOUBLE) - M, b[0])


@every_solver
def test_a_contraction_ends_at_its_fixed_point(solver: Solver):
    for seed in range(5):
        T, want = linear(0.7, seed=seed)
        end = solver.solve(T, normal(3, 8, seed=9), Stopping(tol=1e-12, max_iterations=500))
        assert end.converged.all() and difference(end.image[2], want) < 1e-9


@every_solver
def test_converged_means_that_the_residual_is_there(solver: Solver):
    for seed in range(20):
        T, _ = linear(0.3 + 0.04 * seed, seed=seed)
        end = solver.solve(T, normal(2, 8, seed=9), Stopping(tol=1e-6, max_iterations=40))
        residual = (T(end.z) - end.z).norm(dim=1) / T(end.z).norm(dim=1)
        assert torch.allclose(residual, end.residual, rtol=1e-6, atol=1e-15)
        assert torch.equal(end.converged, residual <= 1e-6)
        assert difference(end.image, T(end.z)) < 1e-14


def diverging(i: int) -> Callable[[Tensor], Tensor]:
    """Fifty maps without a fixed point within reach: they grow, overflow, or are not numbers."""
    kinds: list[Callable[[Tensor], Tensor]] = [
        lambda z: (1.5 + i) * z.abs() + 1,
        lambda z: z**2 + 1 + i,
        lambda z: (z.abs() + i + 1).exp(),
        lambda z: torch.full_like(z, float("nan")) if i % 2 else z * float("inf") + float("inf"),
        lambda z: z.sign() * (2.0 + i) * z.abs() + 1e30 * z.sign(),
    ]
    return kinds[i % 5]


@every_solver
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_diverging_map_is_never_converged(solver: Solver, dtype: torch.dtype):
    for i in range(10):
        start = 1 + normal(2, 6, seed=i, dtype=dtype).abs()
        end = solver.solve(diverging(i), start, Stopping(tol=1e-3, max_iterations=60, every=10))
        assert not end.converged.any(), i
        assert end.z.isfinite().all()
        if i % 5 == 3:
            assert end.diverged.all(), i


@every_solver
def test_one_diverging_image_does_not_change_the_others(solver: Solver):
    def T(z: Tensor) -> Tensor:
        grow = torch.tensor([0.0, 1.0, 0.0], dtype=DOUBLE)[:, None]
        return torch.where(grow > 0, z.abs() ** 3 + 10, 0.5 * z + 1)

    end = solver.solve(T, normal(3, 4), Stopping(tol=1e-9, max_iterations=100))
    assert end.converged.tolist() == [True, False, True]
    assert not end.diverged[[0, 2]].any()
    assert difference(end.image[[0, 2]], torch.full((2, 4), 2.0, dtype=DOUBLE)) < 1e-8


@pytest.mark.parametrize("solver", [Picard(), Anderson(), Broyden()])  # momentum is for descent
def test_a_residual_that_must_grow_first_is_allowed_to(solver: Solver):
    # PDHG with unequal steps: its residual rises before it falls, and a restart from the best
    # iterate so far would come back to it for ever.
    h = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    A = CircularConvolution(h / h.sum(), (1, 8, 8))
    at = problem(A, Wavelet("haar", 2), batch=2, noise=0.0)
    algorithm = PDHG(stepsize=15.0, stepsize_dual=0.05)
    _, end = fixed_point(
        lambda s: algorithm.step(s, at), algorithm.init(at), solver, Stopping(1e-6, 400)
    )
    assert end.converged.all()


@every_solver
def test_an_image_does_not_depend_on_its_batch(solver: Solver):
    T, _ = linear(0.9)
    start = normal(4, 8) * torch.logspace(-3, 3, 4, dtype=DOUBLE)[:, None]
    whole = solver.solve(T, start, Stopping(tol=1e-4, max_iterations=60, every=3))
    for i in range(4):
        one = solver.solve(T, start[i : i + 1], Stopping(tol=1e-4, max_iterations=60, every=3))
        assert difference(one.image, whole.image[i : i + 1]) < 1e-10
        assert one.iterations[0] == whole.iterations[i]


@every_solver
def test_scale_changes_nothing(solver: Solver):
    T, _ = linear(0.9)
    ends = []
    for c in (1e-12, 1.0, 1e12):
        ends.append(
            solver.solve(
                lambda z, c=c: c * T(z / c), c * normal(2, 8), Stopping(tol=1e-6, max_iterations=90)
            )
        )
        assert torch.equal(ends[-1].iterations, ends[0].iterations)
        assert difference(ends[-1].image / c, ends[0].image / 1e-12) < 1e-8


def test_a_fixed_point_at_zero_is_found():
    end = Picard().solve(lambda z: 0 * z, normal(2, 3), Stopping(tol=1e-9, max_iterations=9))
    assert end.converged.all() and not end.image.any()
    once = Picard().solve(lambda z: 0 * z, normal(2, 3), Stopping(tol=1e-9, max_iterations=1))
    assert not once.image.any() and not once.converged.any()


def suite() -> dict[str, Any]:
    cases: dict[str, Any] = {}
    for name, algorithm in {
        "pgd": PGD(lambda_reg=0.01),
        "admm": ADMM(lambda_reg=0.01, beta=1.5),
        "pdhg": PDHG(lambda_reg=0.01, stepsize=0.9, stepsize_dual=0.9),
    }.items():
        cases[f"{name} blur tikhonov"] = (algorithm, problem(blur(8), Tikhonov()))
        cases[f"{name} inpainting tikhonov"] = (algorithm, problem(inpainting(8), Tikhonov()))
        cases[f"{name} blur wavelet"] = (algorithm, problem(blur(8), Wavelet("haar", 1)))
        cases[f"{name} network"] = (algorithm, problem(blur(8), network_prior()))
    return cases


@pytest.mark.parametrize("name", suite())
@torch.no_grad()
def test_anderson_is_never_worse_than_the_plain_iteration(name: str):
    algorithm, at = suite()[name]
    start = algorithm.init(at)
    for budget in (5, 10, 20, 40, 80):
        ends = [
            fixed_point(lambda s: algorithm.step(s, at), start, solver, Stopping(1e-11, n))
            for solver, n in ((Picard(), budget), (Anderson(), budget))
        ]
        plain, fast = (float(end.residual.max()) for _, end in ends)
        assert fast <= 1.05 * max(plain, 1e-11), (budget, plain, fast)


@torch.no_grad()
def test_fifty_evaluations_bring_a_contractive_network_to_a_millionth():
    torch.manual_seed(0)
    prior = PnP(NonexpansiveResNet(1, 7, 8))
    A = blur(16)
    at = problem(A.to_like(torch.zeros(1)), prior, y=measured(A).float())
    algorithm = PGD()
    _, end = fixed_point(
        lambda s: algorithm.step(s, at), algorithm.init(at), Anderson(), Stopping(1e-7, 50)
    )
    assert float(end.residual) <= 1e-6


@torch.no_grad()
def test_anderson_needs_a_fifth_of_the_evaluations_on_blur_and_tikhonov():
    h = torch.ones(1, 1, 3, 3, dtype=DOUBLE) / 9
    at = problem(CircularConvolution(h, (1, 16, 16)), Tikhonov())
    algorithm = PGD(lambda_reg=0.01)
    counts = [
        fixed_point(
            lambda s: algorithm.step(s, at),
            algorithm.init(at),
            solver,
            Stopping(1e-6, 4000),
        )[1]
        for solver in (Picard(), Anderson())
    ]
    assert all(end.converged.all() for end in counts)
    assert int(counts[0].iterations) >= 5 * int(counts[1].iterations), counts


def test_settings_without_meaning_are_refused():
    for call, words in (
        (lambda: Picard(0.0), "Picard.damping = 0.0: must be in"),
        (lambda: Broyden(0), "Broyden.memory = 0: must be at least 1"),
        (lambda: Anderson(0), "Anderson.memory = 0: must be at least 1"),
        (lambda: Anderson(mixing=1.5), "Anderson.mixing = 1.5: must be in"),
        (lambda: Anderson(ridge=-1.0), "Anderson.ridge = -1.0: must be zero or positive"),
    ):
        with pytest.raises(ConfigError, match=words):
            call()


def test_damping_has_the_same_fixed_point():
    T, want = linear(0.8)
    end = Picard(0.5).solve(T, normal(1, 8), Stopping(tol=1e-13, max_iterations=2000))
    assert difference(end.image[0], want) < 1e-10


def test_momentum_is_accelerated_gradient_descent_with_restart():
    H = torch.diag(torch.logspace(-3, 0, 8, dtype=DOUBLE))
    start = normal(1, 8)
    memory, found = Nesterov().memory_for(start), start
    x, z, t, restarts = start, start, 0.0, 0
    for _ in range(300):
        found = memory.propose(found, found - found @ H)
        new = z - z @ H
        if float(((z - new) * (new - x)).sum()) > 0:
            t, restarts = 0.0, restarts + 1
        following = (1 + (1 + 4 * t * t) ** 0.5) / 2
        z = new + max(t - 1, 0) / following * (new - x)
        x, t = new, following
        assert difference(found, z) < 1e-12
    assert restarts > 1


def test_momentum_pays_where_descent_is_slow():
    H = torch.diag(torch.logspace(-3, 0, 8, dtype=DOUBLE))
    stopping = Stopping(tol=1e-13, max_iterations=300)
    ends = [s.solve(lambda z: z - z @ H, normal(1, 8), stopping) for s in (Nesterov(), Picard())]
    assert float(ends[0].z.norm()) < 0.2 * float(ends[1].z.norm())
