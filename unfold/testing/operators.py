"""The laws of a linear operator.

Each takes an operator and the kind of number to measure it with; the tensors of the operator should
be in the same precision. In float64 and with 32 probes, adjointness to 1e-10 catches a scale wrong
by 1e-6, one wrong row, a shift by one pixel or a hidden single precision.
"""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from unfold.physics.operator import Operator
from unfold.testing.dense import (
    DOUBLE,
    columns,
    dense,
    dense_adjoint,
    dense_solve,
    gap,
    measured,
    probe,
)
from unfold.testing.report import Check, holds
from unfold.tree import batched_inner, batched_norm, per_image, tensors, with_tensors


def adjoint(
    operator: Operator, *, tol: float = 1e-10, dtype: torch.dtype = DOUBLE, probes: int = 32
) -> Iterator[Check]:
    """⟨Ax, y⟩ = ⟨x, A*y⟩ relative to ‖Ax‖‖y‖, and both have the declared shapes."""
    worst = 0.0
    for seed in range(probes):
        x = probe(operator, seed, dtype=dtype)
        y = probe(operator, seed + 999, dtype=dtype, dual=True)
        Ax, Aty = operator.A(x), operator.A_adjoint(y)
        if Ax.shape != y.shape or Aty.shape != x.shape:
            yield holds("PH1", "A and A* have the declared shapes", False)
            return
        difference = (batched_inner(Ax, y) - batched_inner(x, Aty)).abs()
        if dtype.is_complex:
            turned = batched_inner(Ax, 1j * y) - batched_inner(x, operator.A_adjoint(1j * y))
            difference = difference + turned.abs()
        error = difference / (batched_norm(Ax) * batched_norm(y)).clamp(min=_tiny(dtype))
        worst = max(worst, _largest(error))
    yield Check("PH1", "⟨Ax, y⟩ = ⟨x, A*y⟩", worst, tol)


def adjoint_entrywise(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """Entry by entry, the matrix of A* is the conjugate transpose of that of A: to 1e-12."""
    error = gap(dense_adjoint(operator, dtype=dtype), dense(operator, dtype=dtype).mH)
    yield Check("PH2", "A* = Aᴴ entrywise", error, 1e-12)


def linear(
    operator: Operator, *, tol: float = 1e-12, dtype: torch.dtype = DOUBLE
) -> Iterator[Check]:
    """A(ax + bz) = aAx + bAz, and A0 = 0 exactly."""
    x, z = probe(operator, 1, dtype=dtype), probe(operator, 2, dtype=dtype)
    a, b = (0.7 - 0.3j, -1.9j) if dtype.is_complex else (0.7, -1.9)
    error = gap(operator.A(a * x + b * z), a * operator.A(x) + b * operator.A(z))
    yield Check("PH3", "A(ax + bz) = aAx + bAz", error, tol)
    yield Check("PH4", "A0 = 0", _largest(operator.A(torch.zeros_like(x)).abs()), 0.0)


def autograd(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """The reverse mode of A is A*, and its forward mode is A: to 1e-10."""
    x = probe(operator, 3, dtype=dtype).requires_grad_()
    y, z = probe(operator, 4, dtype=dtype, dual=True), probe(operator, 5, dtype=dtype)
    with torch.enable_grad():
        (pulled,) = torch.autograd.grad(operator.A(x), x, y)
    yield Check("PH5", "vjp = A*", gap(pulled, operator.A_adjoint(y)), 1e-10)
    _, pushed = torch.autograd.functional.jvp(operator.A, x.detach(), z)  # type: ignore[no-untyped-call]
    yield Check("PH5", "jvp = A", gap(pushed, operator.A(z)), 1e-10)


def normal(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """`normal` is A*A: to 1e-12."""
    x = probe(operator, 6, dtype=dtype)
    error = gap(operator.normal(x), operator.A_adjoint(operator.A(x)))
    yield Check("PH5", "normal = A*A", error, 1e-12)


def norm(operator: Operator, *, dtype: torch.dtype = DOUBLE, tol: float = 1e-4) -> Iterator[Check]:
    """‖A‖² ≤ norm_squared ≤ (1 + tol)‖A‖² for every sample, to rounding."""
    truth = torch.linalg.matrix_norm(dense(operator, dtype=dtype), ord=2) ** 2
    excess = operator.norm_squared.double() / truth - 1
    yield Check("PH6", "norm_squared ≤ (1 + tol)‖A‖²", _largest(excess), tol)
    yield Check("PH6", "norm_squared ≥ ‖A‖²", _largest(-excess), 10 * torch.finfo(dtype).eps)
    below = _largest(1 - operator.norm_bound.double() / truth)
    yield Check("PH6", "norm_bound ≥ ‖A‖²", below, 10 * torch.finfo(dtype).eps)
    proper = operator.norm_squared.shape == (operator.batch,)
    yield holds("PH6", "norm_squared is (B,)", proper and not operator.norm_squared.requires_grad)


def pseudo_inverse(
    operator: Operator, *, dtype: torch.dtype = DOUBLE, tol: float = 1e-8, rcond: float = 1e-6
) -> Iterator[Check]:
    """A⁺ is the dense one."""
    y = probe(operator, 7, dtype=dtype, dual=True)
    dense_pinv = torch.linalg.pinv(dense(operator, dtype=dtype), rtol=rcond)
    want = dense_pinv @ columns(y, dtype)[..., None]
    got = operator.pseudo_inverse(y).flatten(1)[..., None]
    scale = batched_norm(y).max() * torch.linalg.matrix_norm(dense_pinv, 2).max()
    yield Check("PH7", "A⁺ = dense pinv", _largest((got - want).abs() / scale), tol)


def penrose(
    operator: Operator, *, dtype: torch.dtype = DOUBLE, tol: float = 1e-8, rcond: float = 1e-6
) -> Iterator[Check]:
    """AA⁺A = A, A⁺AA⁺ = A⁺, and AA⁺ and A⁺A are self-adjoint.

    An error of A⁺ is measured beside ‖A⁺‖, as in `pseudo_inverse`: here by what A⁺ makes of noise.
    A⁺ leaves out what A makes smaller than `rcond`, so that AA⁺A is A to that.
    """
    A, pinv = operator.A, operator.pseudo_inverse
    x, z = probe(operator, 8, dtype=dtype), probe(operator, 9, dtype=dtype)
    y, u = probe(operator, 10, dtype=dtype, dual=True), probe(operator, 11, dtype=dtype, dual=True)
    yield Check("PH7", "AA⁺A = A", gap(A(pinv(A(x))), A(x)), max(tol, rcond))
    yield Check("PH7", "A⁺AA⁺ = A⁺", gap(pinv(A(pinv(y))), pinv(y)), tol)
    size = operator.norm_squared.to(y.dtype.to_real()).sqrt()
    grown = size * batched_norm(pinv(y)) / batched_norm(y)
    for name, outer, inner, a, b in (("AA⁺", A, pinv, y, u), ("A⁺A", pinv, A, x, z)):
        error = (batched_inner(outer(inner(a)), b) - batched_inner(a, outer(inner(b)))).abs()
        scale = batched_norm(a) * batched_norm(b) * grown.clamp(min=1)
        yield Check("PH7", f"{name} is self-adjoint", _largest(error / scale), tol)


def solve(
    operator: Operator, *, gamma: Tensor | float, dtype: torch.dtype = DOUBLE, tol: float = 1e-8
) -> Iterator[Check]:
    """`solve_normal` is the dense solution."""
    b = probe(operator, 12, dtype=dtype)
    error = gap(operator.solve_normal(b, gamma), dense_solve(operator, b, gamma))
    yield Check("PH8", "solve_normal = dense solve", error, tol)


def solve_gradients(
    operator: Operator, *, gamma: float, dtype: torch.dtype = DOUBLE, tol: float = 1e-6
) -> Iterator[Check]:
    """The gradients of `solve_normal` in b, γ and the operator's tensors are the dense ones."""
    b, c = probe(operator, 13, dtype=dtype), probe(operator, 14, dtype=dtype)

    def gradients(solve: Callable[[Operator, Tensor, Tensor], Tensor]) -> list[Tensor]:
        own = [t.detach().clone() for t in tensors(operator)]
        learnable = [t.requires_grad_() for t in own if t.is_floating_point() or t.is_complex()]
        rhs = b.clone().requires_grad_()
        weight = torch.full((len(b), 1, 1, 1), gamma, dtype=dtype.to_real(), requires_grad=True)
        loss = batched_inner(solve(with_tensors(operator, own), rhs, weight), c).sum()
        return list(torch.autograd.grad(loss, [rhs, weight, *learnable]))

    with torch.enable_grad():
        found = gradients(lambda A, r, w: A.solve_normal(r, w))
        wanted = gradients(dense_solve)
    error = max(gap(got, want) for got, want in zip(found, wanted, strict=True))
    yield Check("PH8", "gradients of solve_normal = dense ones", error, tol)


def solve_weights(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """γ per image, γ shared and γ as a number agree; γ = 0 is the identity."""
    b = probe(operator, 21, dtype=dtype)
    gammas = torch.linspace(0.5, 4.0, len(b), dtype=dtype.to_real())
    got = operator.solve_normal(b, per_image(gammas, b))
    numbers = [operator.solve_normal(b, gamma)[i] for i, gamma in enumerate(gammas.tolist())]
    yield Check("PH8", "γ per image = γ as a number", gap(got, torch.stack(numbers)), 1e-10)
    yield Check("PH8", "γ = 0 is the identity", gap(operator.solve_normal(b, 0.0), b), 1e-12)


def batch_invariance(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """A sample's answers do not depend on its batch mates: to 1e-12."""
    x, y = probe(operator, 15, dtype=dtype), probe(operator, 16, dtype=dtype, dual=True)
    for i in range(len(x)):
        one = operator.take(torch.tensor([i]), len(x))
        for name, f, g, t in (
            ("A", operator.A, one.A, x),
            ("A*", operator.A_adjoint, one.A_adjoint, y),
            ("solve_normal", partial(_solved, operator), partial(_solved, one), x),
        ):
            error = gap(f(t)[i : i + 1], g(t[i : i + 1]))
            yield Check("PH9", f"batch invariance of {name}", error, 1e-12)
        shared = operator.norm_squared[min(i, operator.batch - 1)]
        error = _largest((one.norm_squared - shared).abs())
        yield Check("PH9", "batch invariance of the norm", error, 1e-10)


def inverse_invariance(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """The pseudo-inverse of a sample does not depend on its batch mates: to 1e-12.

    Times ‖A‖²‖A⁺y‖ / ‖A*y‖, which is 1 for a unitary A: a solve amplifies rounding by so much.
    """
    y = probe(operator, 16, dtype=dtype, dual=True)
    whole = operator.pseudo_inverse(y)
    size = operator.norm_squared.to(y.dtype.to_real()) * batched_norm(whole)
    grown = size / batched_norm(operator.A_adjoint(y)).clamp(min=_tiny(dtype))
    for i in range(len(y)):
        one = operator.take(torch.tensor([i]), len(y))
        error = gap(whole[i : i + 1], one.pseudo_inverse(y[i : i + 1])) / max(1, float(grown[i]))
        yield Check("PH9", "batch invariance of pseudo_inverse", error, 1e-12)


def _solved(operator: Operator, b: Tensor) -> Tensor:
    return operator.solve_normal(b, 3.0)


def kind(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """An image of `dtype` comes back as `dtype`, and no input is modified."""
    x, y = probe(operator, 17, dtype=dtype), probe(operator, 18, dtype=dtype, dual=True)
    held = [t.clone() for t in (x, y, *tensors(operator))]
    for name, t in (
        ("A", operator.A(x)),
        ("A*", operator.A_adjoint(y)),
        ("normal", operator.normal(x)),
        ("solve_normal", operator.solve_normal(x, 2.0)),
        ("pseudo_inverse", operator.pseudo_inverse(y)),
    ):
        want = measured(operator, dtype) if name == "A" else dtype
        yield holds("PH10", f"{name} keeps the dtype", t.dtype == want)
    pairs = zip(held, (x, y, *tensors(operator)), strict=True)
    yield holds("PH11", "no input is modified", all(torch.equal(a, b) for a, b in pairs))


def copies(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """Two calls, a deep copy and a pickle agree bitwise, also after properties were computed."""
    x = probe(operator, 19, dtype=dtype)
    want, size = operator.A(x), operator.norm_squared
    pickled = pickle.load(io.BytesIO(pickle.dumps(operator)))
    for name, other in (
        ("two calls", operator),
        ("a deep copy", copy.deepcopy(operator)),
        ("a pickle", pickled),
    ):
        same = torch.equal(other.A(x), want) and torch.equal(other.norm_squared, size)
        yield holds("PH11", f"{name} agree bitwise", same)


def _largest(t: Tensor) -> float:
    """The largest entry, NaN where there is one."""
    return float(t.detach().max())


def _tiny(dtype: torch.dtype) -> float:
    return float(torch.finfo(dtype).tiny)
