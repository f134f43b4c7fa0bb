"""Reported errors of equilibria and of their gradients, against dense solves in float64."""

import warnings
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine import DOUBLE, measured, normal, problem, uniform
from unfold.algorithms.admm import ADMM
from unfold.algorithms.drs import DRS
from unfold.algorithms.gd import GD
from unfold.algorithms.hqs import HQS
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ, SLOW
from unfold.models.equilibrium_gradient import Implicit
from unfold.models.model import Solution, Steps
from unfold.physics.inpainting import Mask
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import Problem, make_problem
from unfold.solvers.acceleration import Anderson, Broyden, Nesterov
from unfold.solvers.fixed_point import Picard, Solver, pack, unpack
from unfold.solvers.gmres import GMRES
from unfold.solvers.result import ConvergenceWarning, Stopping

ALGORITHMS = {"pgd": PGD, "gd": GD, "hqs": HQS, "admm": ADMM, "drs": DRS, "pdhg": PDHG}
SOLVERS: dict[str, Solver] = {
    "picard": Picard(),
    "anderson": Anderson(),
    "broyden": Broyden(),
    "nesterov": Nesterov(),
}
SPECTRA = {
    "linear": torch.linspace(0, 1, 32, dtype=DOUBLE),
    "logarithmic": torch.logspace(-2, 0, 32, dtype=DOUBLE),
}


def attenuation(values: Tensor) -> Mask:
    """A diagonal A with these entries: each pixel contracts at its own rate."""
    return Mask(values.reshape(1, 1, 8, -1))


def affine(algorithm: Any, at: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """J and b of the packed step z ↦ Jz + b, and its start."""
    first = algorithm.init(at)

    def T(z: Tensor) -> Tensor:
        return pack(algorithm.step(unpack(z, first), at))

    start = pack(first)
    b = T(torch.zeros_like(start))
    J = torch.cat([T(e[None]) - b for e in torch.eye(start.shape[1], dtype=DOUBLE)]).mT
    z = normal(*start.shape, seed=7)
    torch.testing.assert_close(T(z), z @ J.mT + b)
    return J, b, start


@cache
def weight_for(name: str, spectrum: str, radius: float) -> float:
    """λ at which the spectral radius of the step is `radius`, by bisection on the extremes of A."""
    values = SPECTRA[spectrum]
    few = torch.cat([values[:1], values[:3], values[-4:]])
    at = problem(attenuation(few), Tikhonov())
    low, high = 1e-5, 10.0
    for _ in range(22):
        middle = (low * high) ** 0.5
        J, *_ = affine(ALGORITHMS[name](lambda_reg=middle), at)
        slow = float(torch.linalg.eigvals(J).abs().max()) > radius
        low, high = (middle, high) if slow else (low, middle)
    return middle


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "radius"),
    [*((n, r) for n in ALGORITHMS for r in (0.9, 0.97, 0.99)), ("pgd", 0.999), ("admm", 0.999)],
)
def test_the_true_error_is_at_most_twice_the_reported_one(name: str, radius: float):
    for spectrum, values in SPECTRA.items():
        at = problem(attenuation(values), Tikhonov())
        algorithm = ALGORITHMS[name](lambda_reg=weight_for(name, spectrum, radius))
        J, b, start = affine(algorithm, at)
        exact = torch.linalg.solve(torch.eye(len(J), dtype=DOUBLE) - J, b[0])

        def T(z: Tensor, J: Tensor = J, b: Tensor = b) -> Tensor:
            return z @ J.mT + b

        for label, solver in SOLVERS.items():
            for limit in (60, 400):  # stopped early, and converged
                end = solver.solve(T, start, Stopping(5e-4, limit, 1e-3, every=3))
                true = float((end.image[0] - exact).norm() / end.image[0].norm())
                reported = float(end.error)
                slow = reported > SLOW * float(end.residual)  # DEQ warns of it, and of what missed
                warned = radius > 0.99 and (slow or not end.converged.all())
                assert true <= 2 * reported + 1e-12 or warned, (label, limit, true, reported)


@torch.no_grad()
def test_the_estimate_holds_for_states_longer_than_their_sketches():
    slow = torch.linspace(0, 1, 2048, dtype=DOUBLE)
    b = normal(2, 2048)
    want = b / (1 - 0.99 * (1 - slow))
    for solver in SOLVERS.values():
        for dtype in (DOUBLE, torch.float32):
            given, rate = b.to(dtype), (0.99 * (1 - slow)).to(dtype)
            end = solver.solve(
                lambda z, c=given, r=rate: r * z + c, given, Stopping(1e-3, 900, 1e-3)
            )
            true = (end.image - want).norm(dim=1) / want.norm(dim=1)
            assert end.converged.all()
            assert (true <= 1.5 * end.error).all() and (end.error <= 6 * true).all()


def random_map(kind: str, size: int, radius: float, seed: int) -> tuple[Tensor, Tensor]:
    """J of this spectral radius and b of z ↦ Jz + b."""
    g = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(size, size, generator=g, dtype=DOUBLE))
    rates = radius * torch.rand(size, generator=g, dtype=DOUBLE)
    rates[0] = radius
    others = torch.randn(size, size, generator=g, dtype=DOUBLE)
    above = 0.3 * torch.triu(others, 1) / size**0.5 if kind == "not normal" else 0
    J = Q @ (rates.diag() + above) @ Q.T
    return J, torch.randn(size, generator=g, dtype=DOUBLE)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize(
    ("solver", "kind", "size", "seeds"),
    [
        ("broyden", "symmetric", 60, range(2)),
        ("broyden", "not normal", 20, range(2)),
        ("anderson", "symmetric", 60, range(1)),
        ("anderson", "not normal", 20, range(1)),
    ],
)
def test_the_estimate_holds_for_maps_that_are_not_of_an_algorithm(
    solver: str, kind: str, size: int, seeds: range, dtype: torch.dtype
):
    for radius in (0.99, 0.999):
        for seed in seeds:
            J, b = random_map(kind, size, radius, seed)
            exact = torch.linalg.solve(torch.eye(size, dtype=DOUBLE) - J, b)
            M, c = J.mT.to(dtype), b.to(dtype)
            stopping = Stopping(5e-3, 700, 1e-3, every=3)
            start = torch.zeros(1, size, dtype=dtype)
            end = SOLVERS[solver].solve(lambda z, M=M, c=c: z @ M + c, start, stopping)
            true = float((end.image[0].double() - exact).norm() / end.image[0].norm())
            warned = not end.converged or float(end.error / end.residual) > SLOW
            assert true <= 2 * float(end.error) or warned, (radius, seed, true, float(end.error))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("kind", ["rotations", "gaussian"])
def test_the_estimate_of_plain_steps_holds_where_eigenvalues_are_complex(
    kind: str, dtype: torch.dtype
):
    """Two pairs of steps gave a quarter of the error for the rotations, and half for the others."""
    size, radius = 200, 0.9
    for seed in range(4):
        g = torch.Generator().manual_seed(seed)
        J = torch.randn(size, size, generator=g, dtype=DOUBLE) / size**0.5
        if kind == "rotations":
            Q, _ = torch.linalg.qr(J)
            rates, angles = torch.rand(2, size // 2, generator=g, dtype=DOUBLE)
            rates[0], angles[0] = 1.1, 0.007
            turns = torch.polar(rates, 3 * angles)
            blocks = torch.stack([turns.real, -turns.imag, turns.imag, turns.real], -1)
            J = Q @ torch.block_diag(*blocks.reshape(-1, 2, 2)) @ Q.T
        J *= radius / torch.linalg.eigvals(J).abs().max()
        b = torch.randn(size, generator=g, dtype=DOUBLE)
        exact = torch.linalg.solve(torch.eye(size, dtype=DOUBLE) - J, b)
        M, c = J.mT.to(dtype), b.to(dtype)
        stopping = Stopping(1e-3, 400)
        end = Picard().solve(lambda z, M=M, c=c: z @ M + c, torch.zeros(1, size).to(c), stopping)
        assert end.converged
        assert float((end.image[0].double() - exact).norm() / exact.norm()) <= 1.1 * float(
            end.error
        )


def test_what_is_not_reached_or_hardly_contracts_is_reported_with_its_estimate():
    at = problem(attenuation(SPECTRA["linear"]), Tikhonov())
    for model, words in (
        (
            DEQ(max_iterations=20),
            r"for 1 of 1 images.*after 20 iterations .* error is \d",
        ),
        (DEQ(accuracy=1e-2, max_iterations=900), r"hardly contracts: .* relative error is \d"),
    ):
        with pytest.warns(ConvergenceWarning, match=words):
            model.run(Steps((PGD(lambda_reg=5e-4), at)))


def squared(image: Tensor, truth: Tensor) -> Tensor:
    """The loss of each image."""
    return (image - truth).square().flatten(1).mean(1)


@pytest.mark.parametrize("radius", [0.9, 0.97, 0.99])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_error_of_a_default_gradient_is_reported_or_warned_of(name: str, radius: float):
    truth = uniform(1, 1, 8, 4, seed=5)
    for spectrum, values in SPECTRA.items():
        kind, A = ALGORITHMS[name], attenuation(values)
        weight = weight_for(name, spectrum, radius)
        lam = torch.tensor(weight, dtype=DOUBLE, requires_grad=True)
        at = problem(A, Tikhonov(), y=measured(A))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solution = DEQ().run(Steps((kind(lambda_reg=lam), at)))
            loss = squared(solution.image, truth).sum()
            (got,) = torch.autograd.grad(loss, lam)
        with torch.enable_grad():
            want = closed_form_gradient(name, values, at, lam, truth)
        assert_honest(float((got - want).abs() / want.abs()), solution.backward.error[0], caught)


def closed_form_gradient(
    name: str, values: Tensor, at: Problem, lam: Tensor, truth: Tensor
) -> Tensor:
    """Of x = ay/(a² + λ), with the Moreau envelope's curvature instead of a² for HQS."""
    a, y = values.reshape(1, 1, 8, 4), at.y
    if name == "hqs":  # γ = 1: ∇ of the envelope of ½(au − y)² is a(ax − y)/(1 + a²)
        x = a * y / (1 + a * a) / (a * a / (1 + a * a) + lam)
    else:
        x = a * y / (a * a + lam)
    (found,) = torch.autograd.grad(squared(x, truth).sum(), lam)
    return found


def assert_honest(true: float, reported: Tensor, caught: list[Any]) -> None:
    """At most twice what is reported, or a warning of that gradient."""
    warned = any("gradient of the equilibrium" in str(one.message).lower() for one in caught)
    assert true <= 2 * float(reported) or warned, (true, float(reported))


@dataclass(frozen=True)
class Ridge(Prior):
    """g(x) = Σ_k 1ᵀψ(w_k * x) with ψ' = s tanh(·/s), circular; w is learned."""

    provides = frozenset({"grad"})

    w: Any = None
    s: float = 0.05

    def grad(self, x: Tensor) -> Tensor:
        u = self.s * torch.tanh(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), self.w) / self.s)
        back = self.w.flip(-1, -2).transpose(0, 1)
        return F.conv2d(F.pad(u, (1, 1, 1, 1), mode="circular"), back)


MISSING = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.85, 0.95], dtype=DOUBLE).reshape(6, 1, 1, 1)


def ridge_filters() -> Tensor:
    w = normal(4, 1, 3, 3, seed=3)
    w = w - 0.9 * w.mean((2, 3), keepdim=True)
    return 0.8 * w / w.norm()


def ridge_gradients(model: DEQ, which: list[int]) -> tuple[list[Tensor], Solution]:
    """The gradient of each image's loss in the filters; each misses more pixels than the last."""
    truth = F.avg_pool2d(uniform(6, 1, 14, 14, seed=8), 3, 1)[which]
    mask = (uniform(6, 1, 12, 12, seed=9) > MISSING).to(DOUBLE)[which]
    w = ridge_filters().requires_grad_()
    at = make_problem(L2(), Mask(mask), mask * truth, Ridge(w))
    solution = model.run(Steps((GD(stepsize=1.0, lambda_reg=0.5), at)))
    losses = squared(solution.image, truth)
    each = [torch.autograd.grad(loss, w, retain_graph=True)[0] for loss in losses]
    squared(solution.image, truth).sum().backward()
    return each, solution


def test_of_a_learned_ridge_prior_and_unequal_images_it_is_honest_and_of_each_by_itself():
    exact = Implicit(1e-10, 1e-8, 800, GMRES(200))
    tight = DEQ(tol=1e-11, accuracy=1e-9, max_iterations=6000, backward=exact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        want, _ = ridge_gradients(tight, list(range(6)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got, together = ridge_gradients(DEQ(), list(range(6)))
    for i in range(6):
        true = float((got[i] - want[i]).norm() / want[i].norm())
        assert_honest(true, together.backward.error[i], caught)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            one, alone = ridge_gradients(DEQ(), [i])
        assert alone.iterations[0] == together.iterations[i]
        assert float((one[0] - got[i]).norm() / got[i].norm()) < 1e-9
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loose = replace(DEQ(), accuracy=1e-2, tol=1e-2)
        _, solution = ridge_gradients(loose, list(range(6)))
    assert any("estimated error" in str(one.message) for one in caught)
    assert float(solution.backward.error.max()) > 0.05
