"""Properties of the solves of an operator: normal equations and least squares."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unfold.physics.operator import Operator
from unfold.pytree import batched_inner, batched_norm, per_image, tensors, with_tensors
from unfold.solvers.conjugate_gradient import default_tol
from unfold.testing.dense import (
    DOUBLE,
    columns,
    dense,
    dense_solve,
    gap,
    largest,
    probe,
    rounding,
    tolerances,
)
from unfold.testing.report import Check

RCOND = 1e-6
"""Below which operators in closed form truncate singular values, relative to the largest."""


def solve(operator: Operator, *, gamma: float, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """`solve_normal` is the dense solution."""
    b = probe(operator, 12, dtype=dtype)
    error = gap(operator.solve_normal(b, gamma), dense_solve(operator, b, gamma))
    yield Check("PH8", "solve_normal = dense solve", error, tolerances(dtype).solve)


def solve_gradients(
    operator: Operator, *, gamma: float, dtype: torch.dtype = DOUBLE
) -> Iterator[Check]:
    """The gradients of `solve_normal` in b, γ and the operator's tensors are the dense ones."""
    b, c = probe(operator, 13, dtype=dtype), probe(operator, 14, dtype=dtype)

    def gradients(solve: Callable[[Operator, Tensor, Tensor], Tensor]) -> list[Tensor]:
        own = [t.detach().clone() for t in tensors(operator)]
        learnable = [t.requires_grad_() for t in own if t.is_floating_point() or t.is_complex()]
        rhs = b.clone().requires_grad_()
        weight = torch.full((len(b), 1, 1, 1), gamma, dtype=dtype.to_real(), requires_grad=True)
        loss = batched_inner(solve(with_tensors(operator, own), rhs, weight), c).sum()
        inputs = [rhs, weight, *learnable]
        return list(torch.autograd.grad(loss, inputs, materialize_grads=True))

    with torch.enable_grad():
        found = gradients(lambda A, r, w: A.solve_normal(r, w))
        wanted = gradients(dense_solve)
    error = max(gap(got, want) for got, want in zip(found, wanted, strict=True))
    tol = tolerances(dtype).solve_gradient
    yield Check("PH8", "gradients of solve_normal = dense ones", error, tol)


def solve_weights(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """γ per image, γ shared and γ as a number agree; γ = 0 is the identity."""
    b = probe(operator, 21, dtype=dtype)
    gammas = torch.linspace(0.5, 4.0, len(b), dtype=dtype.to_real())
    got = operator.solve_normal(b, per_image(gammas, b))
    numbers = [operator.solve_normal(b, gamma)[i] for i, gamma in enumerate(gammas.tolist())]
    error, tol = gap(got, torch.stack(numbers)), tolerances(dtype).batch
    yield Check("PH8", "γ per image = γ as a number", error, 100 * tol)
    yield Check("PH8", "γ = 0 is the identity", gap(operator.solve_normal(b, 0.0), b), tol)


def pseudo_inverse(
    operator: Operator, *, dtype: torch.dtype = DOUBLE, rcond: float = RCOND
) -> Iterator[Check]:
    """A⁺ is the dense one, without the singular values below `rcond`, relative to the largest."""
    y = probe(operator, 7, dtype=dtype, dual=True)
    dense_pinv = torch.linalg.pinv(dense(operator, dtype=dtype), rtol=rcond)
    want = dense_pinv @ columns(y, dtype).to(dense_pinv.dtype)[..., None]
    got = operator.pseudo_inverse(y).flatten(1)[..., None]
    scale = batched_norm(y).max() * torch.linalg.matrix_norm(dense_pinv, 2).max()
    error = largest((got - want).abs() / scale)
    yield Check("PH7", "A⁺ = dense pinv", error, tolerances(dtype).inverse)


def penrose(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """AA⁺A = A, A⁺AA⁺ = A⁺, and AA⁺ and A⁺A are self-adjoint.

    An error of A⁺ is relative to ‖A⁺‖, as in `pseudo_inverse`: here estimated from A⁺ of noise.
    A⁺ truncates singular values below `RCOND`, so that AA⁺A is A to that accuracy.
    """
    tol = tolerances(dtype).inverse
    A, pinv = operator.A, operator.pseudo_inverse
    x, z = probe(operator, 8, dtype=dtype), probe(operator, 9, dtype=dtype)
    y, u = probe(operator, 10, dtype=dtype, dual=True), probe(operator, 11, dtype=dtype, dual=True)
    yield Check("PH7", "AA⁺A = A", gap(A(pinv(A(x))), A(x)), max(tol, RCOND))
    yield Check("PH7", "A⁺AA⁺ = A⁺", gap(pinv(A(pinv(y))), pinv(y)), tol)
    size = operator.norm_squared.to(y.dtype.to_real()).sqrt()
    grown = size * batched_norm(pinv(y)) / batched_norm(y)
    for name, outer, inner, a, b in (("AA⁺", A, pinv, y, u), ("A⁺A", pinv, A, x, z)):
        error = (batched_inner(outer(inner(a)), b) - batched_inner(a, outer(inner(b)))).abs()
        scale = batched_norm(a) * batched_norm(b) * grown.clamp(min=1)
        yield Check("PH7", f"{name} is self-adjoint", largest(error / scale), tol)


def inverse_invariance(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Check]:
    """The pseudo-inverse of a sample does not depend on the other samples.

    Times ‖A‖²‖A⁺y‖ / ‖A*y‖, which is 1 for a unitary A: a solve amplifies rounding by so much, and
    the residual at which each of the two iterative solves may stop.
    """
    tol = max(tolerances(dtype).batch, rounding(dtype, operator.start_image[0].numel()))
    tol += 2 * default_tol(dtype)
    y = probe(operator, 16, dtype=dtype, dual=True)
    ones = [operator.take(torch.tensor([i]), len(y)) for i in range(len(y))]
    single = [one.pseudo_inverse(y[i : i + 1]) for i, one in enumerate(ones)]
    batched = operator.pseudo_inverse(y)
    size = operator.norm_squared.to(y.dtype.to_real()) * batched_norm(batched)
    grown = size / batched_norm(operator.A_adjoint(y)).clamp(min=torch.finfo(dtype).tiny)
    for i, own in enumerate(single):
        error = gap(batched[i : i + 1], own) / max(1, float(grown[i]))
        yield Check("PH9", "batch invariance of pseudo_inverse", error, tol)
