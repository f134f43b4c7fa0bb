"""MINRES: scipy's iterates, and dense solutions of indefinite and of singular systems."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import minres as scipys
from torch import Tensor
from torch.autograd import gradgradcheck

from tests.laws_physics import gap
from unfold.solvers.conjugate_gradient import System
from unfold.solvers.minres import minres
from unfold.solvers.report import ConvergenceWarning

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)


@dataclass(frozen=True, eq=False)
class Matrix(System):
    """Mx for images (B, n), with the Hermitian part of `entries`."""

    entries: Tensor

    def apply(self, x: Tensor) -> Tensor:
        return (hermitian(self.entries) @ x[..., None])[..., 0]


def hermitian(entries: Tensor) -> Tensor:
    return (entries + entries.mH) / 2


def made(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """(2, n, n), Hermitian with these eigenvalues."""
    g = torch.Generator().manual_seed(1)
    n = len(values)
    Q, _ = torch.linalg.qr(torch.randn(2, n, n, generator=g, dtype=dtype))
    return Q @ torch.diag(torch.tensor(values, dtype=dtype)) @ Q.mH


def vectors(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)


INDEFINITE = (-3.0, -1.0, -0.2, 0.5, 1.0, 2.0, 4.0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_iterates_are_scipys(count: int):
    M, b = made(*INDEFINITE), vectors(7, 2)
    with pytest.warns(ConvergenceWarning, match="minres: 2 of 2 samples are above"):
        found = minres(Matrix(M), b, max_iterations=count)
    for matrix, rhs, x in zip(hermitian(M), b, found, strict=True):
        want, _ = scipys(matrix.numpy(), rhs.numpy(), rtol=1e-15, maxiter=count)
        assert np.abs(want - x.numpy()).max() < 1e-12


@DTYPES
@pytest.mark.parametrize("values", [INDEFINITE, (1.0, -1.0, 1.0, -1.0), (2.0,)])
def test_an_indefinite_system_is_solved(values: tuple[float, ...], dtype: torch.dtype):
    M, b = made(*values, dtype=dtype), vectors(len(values), 3, dtype)
    b[0] *= 1e-150
    want = torch.linalg.solve(hermitian(M), b[..., None])[..., 0]
    found = minres(Matrix(M), b)
    for i in range(2):
        assert gap(found[i], want[i]) < 1e-10
    assert gap(minres(Matrix(M[1:]), b[1:]), found[1:]) < 1e-14
    assert not minres(Matrix(M), 0 * b).any()


@DTYPES
def test_a_singular_consistent_system_has_the_least_solution(dtype: torch.dtype):
    M = made(-2.0, 0.0, 1.0, 0.0, 3.0, dtype=dtype)
    b = (M @ vectors(5, 4, dtype)[..., None])[..., 0]
    want = torch.linalg.pinv(M, rtol=1e-10, hermitian=True) @ b[..., None]
    assert gap(minres(Matrix(M), b), want[..., 0]) < 1e-10
    with pytest.warns(ConvergenceWarning, match="minres: 2 of 2"):  # no solution
        minres(Matrix(M), vectors(5, 5, dtype), max_iterations=50)


@DTYPES
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_gradients_are_the_dense_ones(dtype: torch.dtype, scale: float):
    found = []
    for solve in (
        lambda M, b: minres(Matrix(M), b),
        lambda M, b: torch.linalg.solve(hermitian(M), b[..., None])[..., 0],
    ):
        M = made(*INDEFINITE, dtype=dtype).requires_grad_()
        b = vectors(7, 6, dtype).requires_grad_()
        loss = scale * (solve(M, b) * vectors(7, 7, dtype)).sum().abs()
        found.append(torch.autograd.grad(loss, [M, b]))
    for got, want in zip(*found, strict=True):
        assert gap(got, want) < 1e-8


def test_second_derivatives():
    M, b = made(-1.0, 0.5, 2.0).requires_grad_(), vectors(3, 8).requires_grad_()
    assert gradgradcheck(lambda M, b: minres(Matrix(M), b), (M, b), fast_mode=True)
