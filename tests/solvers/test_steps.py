"""Which points each solver visits, and when it is content."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from unfold.solvers.acceleration import Anderson, Broyden
from unfold.solvers.fixed_point import Picard, Solver
from unfold.solvers.result import Stopping


@pytest.mark.parametrize("damping", [1.0, 0.5])
def test_picard_takes_plain_steps_whatever_the_residual_does(damping: float):
    # The residual grows more than twofold at every step, which an accelerated solver takes back.
    M = torch.diag(torch.tensor([-6.0, 0.5, 0.3], dtype=DOUBLE))
    points: list[Tensor] = []

    def T(z: Tensor) -> Tensor:
        points.append(z)
        return z @ M.mT + 1

    Picard(damping).solve(T, normal(2, 3), Stopping(tol=1e-12, max_iterations=12))
    sizes = [float((T(z) - z).norm()) for z in points[:12]]
    assert max(b / a for a, b in pairwise(sizes)) > 2
    for before, after in pairwise(points[:12]):
        plain = (1 - damping) * before + damping * (before @ M.mT + 1)
        assert difference(after, plain) < 1e-12


def test_the_first_updates_of_broyden_are_those_of_the_textbook():
    M, b = 0.4 * normal(4, 4), normal(1, 4, seed=1)
    points: list[Tensor] = []

    def g(z: Tensor) -> Tensor:
        return z @ M.mT + b - z

    def T(z: Tensor) -> Tensor:
        points.append(z)
        return z + g(z)

    Broyden().solve(T, normal(1, 4, seed=2), Stopping(tol=1e-13, max_iterations=6))
    z, B = points[0][0], -torch.eye(4, dtype=DOUBLE)  # B approximates the derivative of g
    for point in points[:5]:
        assert difference(z, point[0]) < 1e-9
        step = -torch.linalg.solve(B, g(z[None])[0])
        change = g((z + step)[None])[0] - g(z[None])[0]
        B = B + torch.outer(change - B @ step, step) / (step @ step)
        z = z + step


@pytest.mark.parametrize("solver", [Anderson(), Broyden()])
def test_an_accuracy_is_asked_of_the_estimated_error(solver: Solver):
    for seed in range(5):
        Q, _ = torch.linalg.qr(normal(16, 16, seed=seed))
        M = Q @ torch.diag(torch.linspace(0, 0.98, 16, dtype=DOUBLE)) @ Q.mT
        b = normal(1, 16, seed=seed + 1)
        want = torch.linalg.solve(torch.eye(16, dtype=DOUBLE) - M, b[0])
        errors = []
        for accuracy in (math.inf, 1e-3):
            stopping = Stopping(tol=1e-3, max_iterations=99, accuracy=accuracy)
            end = solver.solve(lambda z, M=M, b=b: z @ M.mT + b, b, stopping)
            assert end.converged.all() and float(end.error) <= accuracy
            errors.append(float((end.image[0] - want).norm() / want.norm()))
        assert errors[1] < 4e-3 and errors[1] < errors[0]
