"""Operators as matrices: the reference that closed forms and solvers are held to."""

import math

import torch
from torch import Tensor

from unfold.physics.operator import Operator

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

    Where images are real and measurements complex, A is linear over the real numbers alone.
    """
    apart = y.is_complex() and not dtype.is_complex
    return (torch.view_as_real(y) if apart else y).flatten(1)


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
    """In double precision: what is computed from a matrix should not add an error of its own."""
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
