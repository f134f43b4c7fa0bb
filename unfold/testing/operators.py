"""Properties of a linear operator.

Each takes an operator and the dtype to measure it with; the tensors of the operator should have the
same precision. In float64 and with 32 probes, adjointness to 1e-10 catches a scale wrong
by 1e-6, one wrong row, a shift by one pixel or a hidden single precision.
"""

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from unfold.physics.operator import Operator
from unfold.pytree import batched_inner, batched_norm, tensors, to_like, with_tensors
from unfold.solvers.conjugate_gradient import default_tol
from unfold.solvers.linear_map import norm_squared
from unfold.testing.dense import (
    DOUBLE,
    IN_SINGLE,
    dense,
    dense_adjoint,
    gap,
    largest,
    measured,
    probe,
    rounding,
    single,
    tolerances,
)
from unfold.testing.report import Check, Finding, NotJudged, holds

PROBES = 32

FEW = 600
"""Entries of a measurement whose pseudo-inverse is cheap, also by iterations."""


def adjoint(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """‖A* − Aᴴ‖_F / ‖A‖_F, estimated by Gaussian x and y: E|⟨Ax, y⟩ − ⟨x, A*y⟩|² = ‖A − A*ᴴ‖_F²."""
    differences: list[Tensor] = []
    size: list[Tensor] = []
    for seed in range(PROBES):
        x = probe(operator, seed, dtype=dtype)
        y = probe(operator, seed + 999, dtype=dtype, dual=True)
        Ax, Aty = operator.A(x), operator.A_adjoint(y)
        if Ax.shape != y.shape or Aty.shape != x.shape:
            yield holds("PH1", "A and A* have the declared shapes", False)
            return
        difference = (batched_inner(Ax, y) - batched_inner(x, Aty)).double() ** 2
        if dtype.is_complex:
            turned = batched_inner(Ax, 1j * y) - batched_inner(x, operator.A_adjoint(1j * y))
            difference = difference + turned.double() ** 2
        elif y.is_complex():
            difference = 2 * difference  # each part of y has the variance ½
        differences.append(difference)
        size.append(batched_norm(Ax).double() ** 2)
    least = torch.finfo(DOUBLE).tiny
    error = torch.stack(differences).mean(0) / torch.stack(size).mean(0).clamp(min=least)
    yield Check("PH1", "A* = Aᴴ (Frobenius)", largest(error.sqrt()), tolerances(dtype).adjoint)


def adjoint_entrywise(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """Entry by entry, the matrix of A* is the conjugate transpose of that of A."""
    error = gap(dense_adjoint(operator, dtype=dtype), dense(operator, dtype=dtype).mH)
    yield Check("PH2", "A* = Aᴴ entrywise", error, tolerances(dtype).entrywise)


def linear(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """A(ax + bz) = aAx + bAz, and A0 = 0 exactly."""
    x, z = probe(operator, 1, dtype=dtype), probe(operator, 2, dtype=dtype)
    a, b = (0.7 - 0.3j, -1.9j) if dtype.is_complex else (0.7, -1.9)
    error = gap(operator.A(a * x + b * z), a * operator.A(x) + b * operator.A(z))
    yield Check("PH3", "A(ax + bz) = aAx + bAz", error, tolerances(dtype).linear)
    yield Check("PH4", "A0 = 0", largest(operator.A(torch.zeros_like(x)).abs()), 0.0)


def autograd(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """The reverse mode of A is A*, and its forward mode is A."""
    x = probe(operator, 3, dtype=dtype).requires_grad_()
    y, z = probe(operator, 4, dtype=dtype, dual=True), probe(operator, 5, dtype=dtype)
    with torch.enable_grad():
        (pulled,) = torch.autograd.grad(operator.A(x), x, y)
    yield Check("PH5", "vjp = A*", gap(pulled, operator.A_adjoint(y)), tolerances(dtype).product)
    _, pushed = torch.autograd.functional.jvp(operator.A, x.detach(), z)  # type: ignore[no-untyped-call]
    yield Check("PH5", "jvp = A", gap(pushed, operator.A(z)), tolerances(dtype).product)


def normal(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """`normal` is A*A."""
    x = probe(operator, 6, dtype=dtype)
    error = gap(operator.normal(x), operator.A_adjoint(operator.A(x)))
    yield Check("PH5", "normal = A*A", error, tolerances(dtype).linear)


def norm(
    operator: Operator, *, dtype: torch.dtype = DOUBLE, tol: float | None = None
) -> Iterator[Check]:
    """‖A‖² ≤ norm_squared ≤ (1 + tol)‖A‖² for every sample, to rounding."""
    A = dense(operator, dtype=dtype)
    truth, least = torch.linalg.matrix_norm(A, ord=2) ** 2, rounding(dtype, max(A.shape[-2:]))
    excess = operator.norm_squared.double() / truth - 1
    yield Check(
        "PH6", "norm_squared ≤ (1 + tol)‖A‖²", largest(excess), tol or tolerances(dtype).norm
    )
    yield Check("PH6", "norm_squared ≥ ‖A‖²", largest(-excess), least)
    below = largest(1 - operator.norm_bound.double() / truth)
    yield Check("PH6", "norm_bound ≥ ‖A‖²", below, least)
    proper = operator.norm_squared.shape == (operator.batch,)
    yield holds("PH6", "norm_squared is (B,)", proper and not operator.norm_squared.requires_grad)


def large_norm(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """As `norm`, where a dense matrix is too large: against the Lanczos process."""
    truth = norm_squared(operator, operator.start_image).double()
    error = largest((operator.norm_squared.double() / truth - 1).abs())
    yield Check("PH6", "norm_squared = that of Lanczos", error, tolerances(dtype).norm)
    below = largest(1 - operator.norm_bound.double() / truth)
    yield Check("PH6", "norm_bound ≥ ‖A‖²", below, tolerances(dtype).norm)


def parameters(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """The derivative of Ax in the operator's tensors is that of finite differences in double."""
    x, y = probe(operator, 22, dtype=dtype), probe(operator, 23, dtype=dtype, dual=True)

    def value(A: Operator, v: Tensor, u: Tensor) -> Tensor:
        return batched_inner(A.A(v), u).sum()

    moves = parameter_moves(operator, 24)
    for found, want, there in parameter_slopes(operator, value, (x, y), moves):
        scale = sum(float(batched_norm(m[None])) for m in moves.values())
        size = max(abs(want), abs(there), 1e-3 * scale)
        error = abs(found - want) / size
        yield Check("PH13", "derivative of A in its parameters", error, tolerances(dtype).parameter)


def parameter_moves(operator: Operator, seed: int) -> dict[int, Tensor]:
    """A Gaussian direction for each tensor that can be learned, by its place among all."""
    own = enumerate(tensors(operator))
    free = {i: t for i, t in own if t.is_floating_point() or t.is_complex()}
    g = torch.Generator().manual_seed(seed)
    return {i: torch.randn(t.shape, generator=g, dtype=t.dtype) for i, t in free.items()}


def parameter_slopes(
    operator: Operator,
    value: Callable[..., Tensor],
    given: Sequence[Tensor],
    moves: Mapping[int, Tensor],
) -> Iterator[tuple[float, float, float]]:
    """f'(0), by autograd and by differences, and f(0), f(t) = value(A(θ + t · moves), *given).

    f'(0) = (8(f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h + O(h⁴), in double: right to 1e-9 also where
    A turns fast, as the transform at points off the grid does. Nothing where there are no moves.
    """
    own = [t.detach() for t in tensors(operator)]

    def f(by: Tensor) -> Tensor:
        theta, others = list(to_like(tuple(own), by)), to_like(tuple(given), by)
        for i, move in to_like(tuple(moves.items()), by):
            theta[i] = theta[i] + by * move
        return value(with_tensors(operator, theta), *others)

    if not moves:
        return
    with torch.enable_grad():
        at = torch.zeros((), dtype=given[0].dtype.to_real(), requires_grad=True)
        there = f(at)
        found = torch.autograd.grad(there, at)[0] if there.requires_grad else torch.zeros_like(at)
    h = torch.full((), 1e-5, dtype=DOUBLE)
    ends = [(f(k * h) - f(-k * h)).detach() for k in (1, 2)]
    yield float(found), float((8 * ends[0] - ends[1]) / (12 * h)), float(there.detach())


def batch_invariance(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """A sample's answers do not depend on the other samples."""
    x, y = probe(operator, 15, dtype=dtype), probe(operator, 16, dtype=dtype, dual=True)
    tol = max(tolerances(dtype).batch, rounding(dtype, x[0].numel()))
    # Two iterative solves may both stop at the tolerance, whose error I + γA*A does not amplify.
    solved = tol + 2 * default_tol(dtype)
    for i in range(len(x)):
        one = operator.take(torch.tensor([i]), len(x))
        for name, f, g, t in (
            ("A", operator.A, one.A, x),
            ("A*", operator.A_adjoint, one.A_adjoint, y),
            (
                "solve_normal",
                partial(operator.solve_normal, gamma=3.0),
                partial(one.solve_normal, gamma=3.0),
                x,
            ),
        ):
            error = gap(f(t)[i : i + 1], g(t[i : i + 1]))
            allowed = solved if name == "solve_normal" else tol
            yield Check("PH9", f"batch invariance of {name}", error, allowed)
        shared = min(i, operator.batch - 1)
        error = gap(one.norm_squared, operator.norm_squared[shared])
        yield Check("PH9", "batch invariance of the norm", error, 100 * tol)
        error = gap(one.norm_bound, operator.norm_bound[shared])
        yield Check("PH9", "batch invariance of its bound", error, 100 * tol)


def kind(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """The dtype is kept, and no input is modified."""
    x, y = probe(operator, 17, dtype=dtype), probe(operator, 18, dtype=dtype, dual=True)
    held = [t.clone() for t in (x, y, *tensors(operator))]
    # What may take many iterations is solved where it is small; 0 is solved at once.
    one, few = operator.take(torch.tensor([0]), len(x)), y[:1] * (y[0].numel() <= FEW)
    for name, t in (
        ("A", operator.A(x)),
        ("A*", operator.A_adjoint(y)),
        ("normal", operator.normal(x)),
        ("solve_normal", operator.solve_normal(x, 2.0)),
        ("pseudo_inverse", one.pseudo_inverse(few)),
    ):
        want = measured(operator, dtype) if name == "A" else dtype
        yield holds("PH10", f"{name} keeps the dtype", t.dtype == want)
    pairs = zip(held, (x, y, *tensors(operator)), strict=True)
    yield holds("PH11", "no input is modified", all(torch.equal(a, b) for a, b in pairs))


def copies(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Finding]:
    """Two calls, a deep copy and a pickle agree bitwise, also after properties were computed."""
    x = probe(operator, 19, dtype=dtype)
    want, size = operator.A(x), operator.norm_squared
    others = {
        "two calls": operator,
        "a deep copy": copy.deepcopy(operator),
        ".to() the same dtype": operator.to_like(x),
    }
    if operator.pickles:
        others["a pickle"] = pickle.load(io.BytesIO(pickle.dumps(operator)))
    else:
        reason = f"{type(operator).__name__} declares that it cannot be pickled"
        yield NotJudged("PH11", "a pickle agrees bitwise", reason)
    for name, other in others.items():
        same = torch.equal(other.A(x), want) and torch.equal(other.norm_squared, size)
        yield holds("PH11", f"{name} agree bitwise", same)
    if not single(dtype):
        narrow = x.to(torch.complex64 if dtype.is_complex else torch.float32)
        error = gap(operator.to_like(narrow).A(narrow), want)
        yield Check("PH11", ".to() another precision is the same map", error, IN_SINGLE.linear)
