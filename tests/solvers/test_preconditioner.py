"""Preconditioned conjugate gradients: the same answer and gradient, sooner."""

import pytest
import torch

from tests.operator_properties import dense
from unfold.physics.ct.projector import Fan, Parallel, Projector
from unfold.solvers.conjugate_gradient import solve_normal
from unfold.solvers.linear_map import LinearMap

DOUBLE = torch.float64
ANGLES = tuple(12.0 * i for i in range(15))
GAMMA = 0.1


class Counted(Projector):
    """Counts how often A*A is applied."""

    applied = 0

    def normal(self, x):
        type(self).applied += 1
        return super().normal(x)


class Plain(Counted):
    """Without what it knows of itself."""

    def precondition(self, r, gamma):
        return LinearMap.precondition(self, r, gamma)


def image(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)


GEOMETRIES = [Parallel(ANGLES, 23), Fan(ANGLES, 23, 1.5, 40.0, 40.0)]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=["parallel", "fan"])
def test_the_answer_is_the_dense_one_and_comes_sooner(geometry):
    b = image(2, 1, 16, 16)
    matrix = dense(Projector(geometry, (1, 16, 16)))[0]
    system = torch.eye(256, dtype=DOUBLE) + GAMMA * matrix.mT @ matrix
    expected = torch.linalg.solve(system, b.flatten(1).mT).mT.reshape(b.shape)
    counts = []
    for kind in (Counted, Plain):
        kind.applied = 0
        found = solve_normal(kind(geometry, (1, 16, 16)), b, GAMMA)
        assert (found - expected).norm() <= 1e-10 * expected.norm()
        counts.append(kind.applied)
    assert counts[0] < 0.85 * counts[1], counts


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=["parallel", "fan"])
@pytest.mark.parametrize("gamma", [1.0, 10.0, 100.0])
def test_it_comes_sooner_also_where_little_is_regularised(geometry, gamma):
    b, counts = image(1, 1, 16, 16), []
    for kind in (Counted, Plain):
        kind.applied = 0
        solve_normal(kind(geometry, (1, 16, 16)), b, gamma, tol=1e-6)
        counts.append(kind.applied)
    assert counts[0] < 0.95 * counts[1], counts


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=["parallel", "fan"])
def test_it_is_symmetric_positive_and_below_the_identity(geometry):
    operator = Projector(geometry, (1, 9, 8))
    basis = torch.eye(72, dtype=DOUBLE).reshape(72, 1, 9, 8)
    matrix = operator.precondition(basis, GAMMA).flatten(1)
    assert (matrix - matrix.mT).abs().max() < 1e-14
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > 0 and eigenvalues.max() <= 1 + 1e-12


def test_gradients_are_the_dense_ones():
    operator = Projector(GEOMETRIES[0], (1, 8, 8))
    matrix = dense(operator)[0]
    b, weights = image(1, 1, 8, 8).requires_grad_(), image(64)
    gamma = torch.tensor(GAMMA, dtype=DOUBLE, requires_grad=True)
    found = (solve_normal(operator, b, gamma).flatten() * weights).sum()
    system = torch.eye(64, dtype=DOUBLE) + gamma * matrix.mT @ matrix
    expected = torch.linalg.solve(system, b.flatten()) @ weights
    for one, other in zip(
        torch.autograd.grad(found, (b, gamma)),
        torch.autograd.grad(expected, (b, gamma)),
        strict=True,
    ):
        assert (one - other).norm() <= 1e-9 * other.norm()
