"""Operators as matrices, the reference of closed forms and solvers, and the errors allowed."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.physics.operator import Operator


class Tolerances(NamedTuple):
    """Relative errors.

    adjoint: of A* against Aᴴ, as matrices, in the norm of Frobenius.
    entrywise: the same for each entry.
    linear: of A(ax + bz).
    product: of A*A, and of the derivatives of A.
    norm: of ‖A‖², from above.
    inverse: of A⁺, relative to ‖A⁺‖.
    solve: of (I + γA*A)⁻¹b.
    solve_gradient: of its derivatives.
    parameter: of the derivatives of A in the operator's own tensors.
    batch: between a single sample and the same in a batch.
    """

    adjoint: float
    entrywise: float
    linear: float
    product: float
    norm: float
    inverse: float
    solve: float
    solve_gradient: float
    parameter: float
    batch: float


IN_DOUBLE = Tolerances(1e-10, 1e-12, 1e-12, 1e-10, 1e-4, 1e-8, 1e-8, 1e-6, 1e-6, 1e-12)
IN_SINGLE = Tolerances(1e-5, 1e-6, 1e-5, 1e-5, 1e-3, 1e-3, 1e-4, 1e-3, 1e-2, 1e-6)


def single(dtype: torch.dtype) -> bool:
    """Whether the precision is single."""
    return torch.finfo(dtype).eps > 1e-10


def tolerances(dtype: torch.dtype) -> Tolerances:
    """The errors allowed in this precision."""
    return IN_SINGLE if single(dtype) else IN_DOUBLE


def rounding(dtype: torch.dtype, count: int) -> float:
    """4ε√n: what another order of sums of n numbers changes, on any processor; at least 10ε."""
    return float(torch.finfo(dtype).eps) * max(10.0, 4.0 * math.sqrt(count))


def largest(t: Tensor) -> float:
    """The largest entry, NaN where there is one."""
    return float(t.detach().max())


DOUBLE = torch.float64


def probe(
    operator: Operator, seed: int, *, dtype: torch.dtype = DOUBLE, dual: bool = False
) -> Tensor:
    """A Gaussian image of the operator or, if `dual`, a measurement."""
    shape = operator.measurement_shape if dual else operator.image_shape
    dtype = measured(operator, dtype) if dual else dtype
    g = torch.Generator().manual_seed(seed)
    return torch.randn(max(operator.batch, 2), *shape, generator=g, dtype=dtype)


def measured(operator: Operator, dtype: torch.dtype) -> torch.dtype:
    """The kind of the measurement of an image of this kind."""
    if operator.complex_measurements:
        return dtype.to_complex()
    return dtype.to_real() if operator.complex_images else dtype


def columns(y: Tensor, dtype: torch.dtype) -> Tensor:
    """(batch, m): the entries; the two parts of complex ones where the images are of a real kind.

    Where images are real and measurements complex, A is linear over the real numbers only.
    """
    split = y.is_complex() and not dtype.is_complex
    return (torch.view_as_real(y) if split else y).flatten(1)


def dense(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Tensor:
    """(batch, m, n): the matrices of A by columns, in double precision; differentiable."""
    n = math.prod(operator.image_shape)
    basis = torch.eye(n, dtype=dtype).reshape(n, *operator.image_shape)
    return torch.stack([_long(columns(A.A(basis), dtype)).mT for A in _singles(operator)])


def dense_adjoint(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Tensor:
    """(batch, n, m): the matrices of A*, in double precision."""
    shape = operator.measurement_shape
    if measured(operator, dtype) == dtype:
        basis = torch.eye(math.prod(shape), dtype=dtype).reshape(-1, *shape)
    else:
        parts = torch.eye(2 * math.prod(shape), dtype=dtype).reshape(-1, *shape, 2)
        basis = torch.view_as_complex(parts)
    return torch.stack([_long(A.A_adjoint(basis).flatten(1)).mT for A in _singles(operator)])


def _long(t: Tensor) -> Tensor:
    """In double precision: what is computed from a matrix should not add its own error."""
    return t.to(torch.complex128 if t.is_complex() else DOUBLE)


def _singles(operator: Operator) -> list[Operator]:
    return [operator.take(torch.tensor([i]), operator.batch) for i in range(operator.batch)]


def gap(a: Tensor, b: Tensor) -> float:
    """max|a − b| / max|b|."""
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max()) / (float(b.abs().max()) or 1.0)


def dense_solve(operator: Operator, b: Tensor, gamma: Tensor | float) -> Tensor:
    """(I + γAᴴA)⁻¹b by a dense factorisation; differentiable in everything."""
    A = dense(operator, dtype=b.dtype)
    weight = gamma.reshape(-1, 1, 1) if isinstance(gamma, Tensor) else gamma
    M = torch.eye(A.shape[-1], dtype=A.dtype) + weight * (A.mH @ A)
    solution: Tensor = torch.linalg.solve(M, b.to(A.dtype).flatten(1)[..., None])
    return solution[..., 0].reshape(b.shape)
