"""The laws of a linear operator, each a function that raises `AssertionError` with the figures.

Every law takes an operator and the kind of number to test it with; the tensors of the operator
should be in the same precision. In float64 and with 32 probes, adjointness to 1e-10 catches a scale
wrong by 1e-6, one wrong row, a shift by one pixel or a hidden single precision.
"""

import copy
import io
import pickle
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from unfold.physics.operator import Operator
from unfold.tree import batched_inner, batched_norm, per_image, tensors, with_tensors

DOUBLE = torch.float64


def probe(
    operator: Operator, seed: int, *, dtype: torch.dtype = DOUBLE, dual: bool = False
) -> Tensor:
    """A Gaussian image of the operator or, if `dual`, a measurement."""
    shape = operator.measurement_shape if dual else operator.image_shape
    g = torch.Generator().manual_seed(seed)
    return torch.randn(max(operator.batch, 2), *shape, generator=g, dtype=dtype)


def dense(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Tensor:
    """(batch, m, n): the matrices of A, from its columns; differentiable in the operator."""
    n = int(np.prod(operator.image_shape))
    basis = torch.eye(n, dtype=dtype).reshape(n, *operator.image_shape)
    singles = [operator.take(torch.tensor([i]), operator.batch) for i in range(operator.batch)]
    return torch.stack([single.A(basis).flatten(1).mT for single in singles])


def dense_adjoint(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Tensor:
    """(batch, n, m): the matrices of A*."""
    m = int(np.prod(operator.measurement_shape))
    basis = torch.eye(m, dtype=dtype).reshape(m, *operator.measurement_shape)
    singles = [operator.take(torch.tensor([i]), operator.batch) for i in range(operator.batch)]
    return torch.stack([single.A_adjoint(basis).flatten(1).mT for single in singles])


def check(law: str, operator: Operator, error: float, tol: float) -> None:
    """Raise when `error` is above `tol`, or is not a number."""
    if not error <= tol:
        raise AssertionError(f"{type(operator).__name__} breaks {law}: {error:.2e} > {tol:.0e}")


def gap(a: Tensor, b: Tensor) -> float:
    """max|a − b| / max|b|."""
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max()) / (float(b.abs().max()) or 1.0)


def assert_adjoint(
    operator: Operator, *, tol: float = 1e-10, dtype: torch.dtype = DOUBLE, probes: int = 32
) -> None:
    """⟨Ax, y⟩ = ⟨x, A*y⟩ relative to ‖Ax‖‖y‖, and both have the declared shapes."""
    for seed in range(probes):
        x, y = (
            probe(operator, seed, dtype=dtype),
            probe(operator, seed + 999, dtype=dtype, dual=True),
        )
        Ax, Aty = operator.A(x), operator.A_adjoint(y)
        assert Ax.shape == y.shape and Aty.shape == x.shape, (Ax.shape, y.shape, Aty.shape, x.shape)
        difference = batched_inner(Ax, y) - batched_inner(x, Aty)
        if dtype.is_complex:
            turned = batched_inner(Ax, 1j * y) - batched_inner(x, operator.A_adjoint(1j * y))
            difference = difference.abs() + turned.abs()
        error = difference.abs() / (batched_norm(Ax) * batched_norm(y))
        check("⟨Ax, y⟩ = ⟨x, A*y⟩", operator, float(error.max()), tol)


def assert_dense_adjoint(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> None:
    """Entry by entry, the matrix of A* is the conjugate transpose of that of A: to 1e-12."""
    error = gap(dense_adjoint(operator, dtype=dtype), dense(operator, dtype=dtype).mH)
    check("A* = Aᴴ entrywise", operator, error, 1e-12)


def assert_linear(operator: Operator, *, tol: float = 1e-12, dtype: torch.dtype = DOUBLE) -> None:
    """A(ax + bz) = aAx + bAz, and A0 = 0 exactly."""
    x, z = probe(operator, 1, dtype=dtype), probe(operator, 2, dtype=dtype)
    a, b = (0.7 - 0.3j, -1.9j) if dtype.is_complex else (0.7, -1.9)
    error = gap(operator.A(a * x + b * z), a * operator.A(x) + b * operator.A(z))
    check("A(ax + bz) = aAx + bAz", operator, error, tol)
    check("A0 = 0", operator, float(operator.A(torch.zeros_like(x)).abs().max()), 0.0)


def assert_autograd_adjoint(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> None:
    """The reverse mode of A is A*, and its forward mode is A: to 1e-10."""
    x = probe(operator, 3, dtype=dtype).requires_grad_()
    y, z = probe(operator, 4, dtype=dtype, dual=True), probe(operator, 5, dtype=dtype)
    (pulled,) = torch.autograd.grad(operator.A(x), x, y)
    check("vjp = A*", operator, gap(pulled, operator.A_adjoint(y)), 1e-10)
    _, pushed = torch.autograd.functional.jvp(operator.A, x.detach(), z)
    check("jvp = A", operator, gap(pushed, operator.A(z)), 1e-10)


def assert_normal(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> None:
    """`normal` is A*A: to 1e-12."""
    x = probe(operator, 6, dtype=dtype)
    check(
        "normal = A*A", operator, gap(operator.normal(x), operator.A_adjoint(operator.A(x))), 1e-12
    )


def assert_norm(operator: Operator, *, dtype: torch.dtype = DOUBLE, tol: float = 1e-4) -> None:
    """‖A‖² ≤ norm_squared ≤ (1 + tol)‖A‖² for every sample, to rounding."""
    truth = torch.linalg.matrix_norm(dense(operator, dtype=dtype), ord=2) ** 2
    excess = operator.norm_squared.double() / truth - 1
    check("norm_squared ≤ (1 + tol)‖A‖²", operator, float(excess.max()), tol)
    check("norm_squared ≥ ‖A‖²", operator, float(-excess.min()), 10 * torch.finfo(dtype).eps)
    assert operator.norm_squared.shape == (operator.batch,), operator.norm_squared.shape
    assert not operator.norm_squared.requires_grad


def assert_pseudo_inverse(
    operator: Operator, *, dtype: torch.dtype = DOUBLE, tol: float = 1e-8, rcond: float = 1e-6
) -> None:
    """A⁺ is the dense one."""
    y = probe(operator, 7, dtype=dtype, dual=True)
    A = dense(operator, dtype=dtype)
    want = torch.linalg.pinv(A, rtol=rcond) @ y.flatten(1)[..., None]
    got = operator.pseudo_inverse(y).flatten(1)[..., None]
    scale = (
        batched_norm(y).max() * torch.linalg.matrix_norm(torch.linalg.pinv(A, rtol=rcond), 2).max()
    )
    check("A⁺ = dense pinv", operator, float((got - want).abs().max() / scale), tol)


def assert_penrose(operator: Operator, *, dtype: torch.dtype = DOUBLE, tol: float = 1e-8) -> None:
    """AA⁺A = A, A⁺AA⁺ = A⁺, and AA⁺ and A⁺A are self-adjoint."""
    A, pinv = operator.A, operator.pseudo_inverse
    x, z = probe(operator, 8, dtype=dtype), probe(operator, 9, dtype=dtype)
    y, u = probe(operator, 10, dtype=dtype, dual=True), probe(operator, 11, dtype=dtype, dual=True)
    check("AA⁺A = A", operator, gap(A(pinv(A(x))), A(x)), tol)
    check("A⁺AA⁺ = A⁺", operator, gap(pinv(A(pinv(y))), pinv(y)), tol)
    for name, P, a, b in (("AA⁺", lambda t: A(pinv(t)), y, u), ("A⁺A", lambda t: pinv(A(t)), x, z)):
        error = batched_inner(P(a), b) - batched_inner(a, P(b))
        scale = batched_norm(a) * batched_norm(b)
        check(f"{name} is self-adjoint", operator, float((error.abs() / scale).max()), tol)


def dense_solve(operator: Operator, b: Tensor, gamma: Tensor | float) -> Tensor:
    """(I + γAᴴA)⁻¹b by a dense factorisation; differentiable in everything."""
    A = dense(operator, dtype=b.dtype)
    weight = gamma.reshape(-1, 1, 1) if isinstance(gamma, Tensor) else gamma
    M = torch.eye(A.shape[-1], dtype=b.dtype) + weight * (A.mH @ A)
    return torch.linalg.solve(M, b.flatten(1)[..., None])[..., 0].reshape(b.shape)


def assert_solves(
    operator: Operator, *, gamma: Tensor | float, dtype: torch.dtype = DOUBLE, tol: float = 1e-8
) -> None:
    """`solve_normal` is the dense solution."""
    b = probe(operator, 12, dtype=dtype)
    error = gap(operator.solve_normal(b, gamma), dense_solve(operator, b, gamma))
    check(f"solve_normal at γ = {gamma}", operator, error, tol)


def assert_solve_gradients(
    operator: Operator, *, gamma: float, dtype: torch.dtype = DOUBLE, tol: float = 1e-6
) -> None:
    """The gradients of `solve_normal` in b, γ and the operator's tensors are the dense ones."""
    b, c = probe(operator, 13, dtype=dtype), probe(operator, 14, dtype=dtype)

    def gradients(solve: Callable[[Operator, Tensor, Tensor], Tensor]) -> list[Tensor]:
        own = [t.detach().clone().requires_grad_() for t in tensors(operator)]
        rhs = b.clone().requires_grad_()
        weight = torch.full((len(b), 1, 1, 1), gamma, dtype=dtype.to_real(), requires_grad=True)
        loss = batched_inner(solve(with_tensors(operator, own), rhs, weight), c).sum()
        return list(torch.autograd.grad(loss, [rhs, weight, *own]))

    pairs = zip(
        gradients(lambda A, r, w: A.solve_normal(r, w)), gradients(dense_solve), strict=True
    )
    for i, (got, want) in enumerate(pairs):
        check(f"gradient {i} of solve_normal", operator, gap(got, want), tol)


def solved(operator: Operator, b: Tensor) -> Tensor:
    """(I + 3A*A)⁻¹b."""
    return operator.solve_normal(b, 3.0)


def assert_batch_invariant(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> None:
    """A sample's answers do not depend on its batch mates: to 1e-12."""
    x, y = probe(operator, 15, dtype=dtype), probe(operator, 16, dtype=dtype, dual=True)
    for i in range(len(x)):
        one = operator.take(torch.tensor([i]), len(x))
        for name, f, g, t in (
            ("A", operator.A, one.A, x),
            ("A*", operator.A_adjoint, one.A_adjoint, y),
            ("solve_normal", partial(solved, operator), partial(solved, one), x),
            ("pseudo_inverse", operator.pseudo_inverse, one.pseudo_inverse, y),
        ):
            check(
                f"batch invariance of {name}",
                operator,
                gap(f(t)[i : i + 1], g(t[i : i + 1])),
                1e-12,
            )
        shared = operator.norm_squared[min(i, operator.batch - 1)]
        check(
            "batch invariance of the norm",
            operator,
            float((one.norm_squared - shared).abs()),
            1e-10,
        )


def assert_keeps_kind(operator: Operator, *, dtype: torch.dtype) -> None:
    """What goes in as `dtype` comes out as `dtype`, and no input is modified."""
    x, y = probe(operator, 17, dtype=dtype), probe(operator, 18, dtype=dtype, dual=True)
    held = [t.clone() for t in (x, y, *tensors(operator))]
    for t in (
        operator.A(x),
        operator.A_adjoint(y),
        operator.normal(x),
        operator.solve_normal(x, 2.0),
        operator.pseudo_inverse(y),
    ):
        assert t.dtype == dtype, f"{type(operator).__name__}: {dtype} in, {t.dtype} out"
    for before, after in zip(held, (x, y, *tensors(operator)), strict=True):
        assert torch.equal(before, after), f"{type(operator).__name__} modifies its input"


def assert_copies(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> None:
    """Two calls, a deep copy and a pickle agree bitwise, also after properties were computed."""
    x = probe(operator, 19, dtype=dtype)
    want = operator.A(x)
    _ = operator.norm_squared
    file = io.BytesIO(pickle.dumps(operator))
    for other in (operator, copy.deepcopy(operator), pickle.load(file)):
        assert torch.equal(other.A(x), want)
        assert torch.equal(other.norm_squared, operator.norm_squared)


def assert_scales_gamma(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> None:
    """γ per image, γ shared and γ as a number agree; γ = 0 is the identity."""
    b = probe(operator, 21, dtype=dtype)
    gammas = torch.linspace(0.5, 4.0, len(b), dtype=dtype.to_real())
    got = operator.solve_normal(b, per_image(gammas, b))
    for i, gamma in enumerate(gammas.tolist()):
        check("γ per image", operator, gap(got[i], operator.solve_normal(b, gamma)[i]), 1e-10)
    check("γ = 0 is the identity", operator, gap(operator.solve_normal(b, 0.0), b), 1e-12)
