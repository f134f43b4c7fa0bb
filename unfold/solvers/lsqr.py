"""The least-squares image of least norm, sample by sample, with an implicit gradient."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unfold.pytree import batched_norm, per_field, per_image, same_as, tensors
from unfold.solvers.conjugate_gradient import (
    MAX_ITERATIONS,
    Budget,
    cotangents,
    default_tol,
    largest_modulus,
    ratio,
    tested,
)
from unfold.solvers.linear_map import LinearMap
from unfold.solvers.result import report
from unfold.typing import Image, Measurement, Scalar, Shape


@dataclass(frozen=True, eq=False)
class _Adjoint(LinearMap):
    """A* of A."""

    operator: LinearMap

    forward = same_as("operator.adjoint")
    adjoint = same_as("operator.forward")


def least_norm(
    operator: LinearMap,
    y: Measurement,
    *,
    tol: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> Image:
    """A⁺y, by LSQR: βu⁺ = Av − αu; αv⁺ = A*u⁺ − βv; the bidiagonal least squares by rotations.

    Conjugate gradients on A*Ax = A*y take as many iterations and up to half the time; but where y
    is far from the range of A, or after convergence, their rounding errors grow without bound;
    those of LSQR do not.

    The gradient, of any order, is by more of such solves; with respect to the operator's tensors it
    is right where the rank of A does not change.

    Args:
        operator: A, through `forward` and `adjoint`.
        y: (B, …), real or complex.
        tol: ‖A*(y − Ax)‖ / ‖A*y‖ at which a sample is done; 1e-6, and 1e-12 in double precision, if
            None.
        max_iterations: applications of A and of A* at most.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`; then A is
            ill-conditioned, and A⁺ would amplify any noise.

    Source: Paige and Saunders, LSQR: an algorithm for sparse linear equations and sparse least
    squares, ACM Trans. Mathematical Software 8 (1982), section 4; Golub and Pereyra, The
    differentiation of pseudo-inverses and nonlinear least squares problems, SINUM 10 (1973),
    equation 4.12, for the gradient.
    """
    budget = Budget(default_tol(y.dtype) if tol is None else tol, max_iterations)
    return _solve(operator, budget, y)


def _solve(A: LinearMap, budget: Budget, y: Tensor) -> Tensor:
    solution: Tensor = _LeastNorm.apply(A, budget, y, *tensors(A))  # type: ignore[no-untyped-call]
    return solution


def _iterated(A: LinearMap, budget: Budget, y: Tensor) -> Tensor:
    """A⁺y, every sample to ‖A*(y − Ax)‖ ≤ tol ‖A*y‖, from 0 and so inside the range of A*.

    The residual is that of the rotations, which keeps falling where rounding limits the true one.
    """
    scale = largest_modulus(y)
    u, beta = _unit(y / per_image(scale, y))
    v, alpha = _unit(A.adjoint(u))
    x, w = torch.zeros_like(v), v
    phi_bar, rho_bar = beta, alpha
    residual = norm = alpha * beta
    limit, taken = budget.tol * norm, torch.zeros_like(norm)
    active = residual > limit
    for k in range(budget.max_iterations):
        if tested(k, y) and not bool(active.any()):
            break
        taken = taken + active
        u, beta = _unit(A.forward(v) - per_image(alpha, u) * u)
        v, alpha = _unit(A.adjoint(u) - per_image(beta, v) * v)
        rho = torch.hypot(rho_bar, beta)
        c, s = ratio(rho_bar, rho, active), ratio(beta, rho, active)
        theta, rho_bar = s * alpha, -c * alpha
        phi, phi_bar = c * phi_bar, s * phi_bar
        x = x + per_image(ratio(phi, rho, active), w) * w
        w = v - per_image(ratio(theta, rho, active), w) * w
        residual = torch.where(active, phi_bar * alpha * c.abs(), residual)
        active = residual > limit
    report("least_norm", residual, norm, budget.tol, taken)
    return x * per_image(scale, x)


def _unit(t: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample over its norm, and the norms; 0 stays 0."""
    norm = batched_norm(t)
    return t / per_image(torch.where(norm == 0, 1, norm), t), norm


class _LeastNorm(torch.autograd.Function):
    """x = A⁺y; its cotangent v gives u = A⁺*v to y.

    δx = −A⁺ δA x + A⁺A⁺* δA* (y − Ax) + (I − A⁺A) δA* A⁺*x, hence to θ the gradient of
    −⟨u, A(θ)x⟩ + ⟨A(θ)A⁺u, y − Ax⟩ + ⟨A(θ)(v − A⁺Av), A⁺*x⟩.
    """

    @staticmethod
    def forward(ctx: Any, A: LinearMap, budget: Budget, y: Tensor, *theta: Tensor) -> Tensor:
        x = _iterated(A, budget, y)
        ctx.A, ctx.budget = A, budget
        ctx.save_for_backward(x, y, *theta)
        return x

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *theta = ctx.saved_tensors
        A: LinearMap = ctx.A
        there = partial(_solve, A, ctx.budget)
        back = partial(_solve, _Adjoint(A), ctx.budget)
        u = back(v)
        own: list[Tensor | None] = [None] * len(theta)
        if any(ctx.needs_input_grad[3:]):
            w, rest = there(u), v - there(A.forward(v))
            z, residual = back(x), y - A.forward(x)
            own = cotangents(
                lambda a: [(-u, a.forward(x)), (residual, a.forward(w)), (z, a.forward(rest))],
                A,
                theta,
                ctx,
            )
        return None, None, u, *own


def damped_least_squares(
    operator: LinearMap, y: Measurement, gamma: Scalar, centre: Image
) -> Image:
    """argmin_x γ‖Ax − y‖² + ‖x − c‖², by the least squares of (√γ A, I).

    The condition number is that of (√γ A, I), where the normal equations square it: for large γ in
    single precision the answer keeps its digits.

    Args:
        operator: A, through `forward` and `adjoint`.
        y: (B, …), real or complex.
        gamma: γ ≥ 0, a number, a 0-d tensor or (B, 1, 1, 1); it may be learned, if positive.
        centre: c, (B, C, H, W).

    Warns:
        ConvergenceWarning: as of `least_norm`, relative to γA*y + c.

    Source: Paige and Saunders, as of `least_norm`, section 1, for the taller operator.
    """
    root = gamma.sqrt() if isinstance(gamma, Tensor) else gamma**0.5
    taller = _Damped(operator, root, tuple(y.shape[1:]))
    return least_norm(taller, taller.rows(y, centre))


@dataclass(frozen=True, eq=False)
class _Damped(LinearMap):
    """x ↦ (√γ Ax, x), flat."""

    operator: LinearMap
    root: Scalar
    shape: Shape

    def rows(self, y: Measurement, x: Image) -> Tensor:
        """(√γ y, x)."""
        weighted: Tensor = per_field(self.root, y) * y
        return torch.cat([weighted.flatten(1), x.flatten(1).to(weighted.dtype)], 1)

    def forward(self, x: Image) -> Tensor:
        return self.rows(self.operator.forward(x), x)

    def adjoint(self, z: Tensor) -> Image:
        count = math.prod(self.shape)
        rows = z[:, :count].reshape(-1, *self.shape)
        back = self.operator.adjoint(per_field(self.root, rows) * rows)
        own = z[:, count:].reshape(back.shape)
        return back + (own if back.is_complex() else own.real)
