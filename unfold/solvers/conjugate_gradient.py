"""Conjugate gradients, sample by sample, with an implicit gradient.

Sources: Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems, J. Res.
NBS 49 (1952); Björck, Elfving and Strakoš, Stability of conjugate gradient and Lanczos methods for
linear least squares problems, SIMAX 19 (1998), algorithm CGLS1.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.tree import batched_inner, batched_norm, per_image, tensors, with_tensors
from unfold.typing import Flags, Image, PerImage, Scalar

if TYPE_CHECKING:
    from unfold.physics.operator import Operator
else:
    Operator = Any

MAX_ITERATIONS = 1000
SYNC_EVERY = 4


class ConvergenceWarning(UserWarning):
    """A linear solve that stopped at its iteration limit: its answer is the best it reached."""


@dataclass(frozen=True, eq=False)
class NormalSystem:
    """Mx = x + γA*Ax: Hermitian, and never smaller than the identity.

    Args:
        operator: A.
        gamma: γ ≥ 0; a number, a 0-d tensor or (B, 1, 1, 1).
    """

    operator: Operator
    gamma: Scalar

    def apply(self, x: Tensor) -> Tensor:
        """Mx."""
        result: Tensor = x + self.gamma * self.operator.normal(x)
        return result


@dataclass(frozen=True)
class Budget:
    """When to stop: `tol` is the residual relative to the right-hand side, per sample."""

    tol: float
    max_iterations: int


def default_tol(dtype: torch.dtype) -> float:
    """1e-12 in double precision, 1e-6 otherwise."""
    return 1e-12 if dtype.to_real() == torch.float64 else 1e-6


def solve_normal(
    operator: Operator,
    b: Image,
    gamma: Scalar,
    *,
    tol: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    start: Image | None = None,
) -> Image:
    """(I + γA*A)⁻¹b by conjugate gradients; its gradient is one more solve, at any order.

    Each sample stops by itself and is left alone from there, so that its answer does not depend on
    its batch mates. There is no absolute tolerance: scaling `b` scales the answer.

    Args:
        operator: anything with `normal(x)`; its tensors may require gradients.
        b: (B, C, H, W), real or complex.
        gamma: γ ≥ 0; a number, a 0-d tensor or (B, 1, 1, 1).
        tol: ‖b − Mx‖ / ‖b‖ at which a sample is done; 1e-6, and 1e-12 in double precision, if None.
        max_iterations: applications of A*A at most.
        start: where to begin; carries no gradient. 0 if None.

    Raises:
        ConfigError: γ is a negative number.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`.
    """
    if isinstance(gamma, float | int) and not gamma >= 0:
        raise ConfigError(
            f"gamma = {gamma}: must be zero or positive for (I + γA*A) to be inverted."
        )
    system = NormalSystem(operator, gamma)
    budget = Budget(default_tol(b.dtype) if tol is None else tol, max_iterations)
    solution: Tensor = _Solve.apply(system, budget, start, b, *tensors(system))  # type: ignore[no-untyped-call]
    return solution


class _Solve(torch.autograd.Function):
    """x = M⁻¹b; w = M⁻¹v; the cotangents are w for b, and that of −⟨w, M(θ)x⟩ for θ."""

    @staticmethod
    def forward(
        ctx: Any,
        system: NormalSystem,
        budget: Budget,
        start: Tensor | None,
        b: Tensor,
        *theta: Tensor,
    ) -> Tensor:
        x = _conjugate_gradient(system, budget, start, b)
        ctx.system, ctx.budget = system, budget
        ctx.save_for_backward(x, *theta)
        return x

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        x, *theta = ctx.saved_tensors
        w: Tensor = _Solve.apply(ctx.system, ctx.budget, None, v, *theta)  # type: ignore[no-untyped-call]
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[4:]) if needed]
        cotangents: list[Tensor | None] = [None] * len(theta)
        if wanted:
            twice = torch.is_grad_enabled()
            with torch.enable_grad():
                own = [t.view_as(t) for t in theta]
                Mx = with_tensors(ctx.system, own).apply(x)
            found = torch.autograd.grad(
                Mx, [own[i] for i in wanted], -w, create_graph=twice, allow_unused=True
            )
            for i, cotangent in zip(wanted, found, strict=True):
                cotangents[i] = cotangent
        return None, None, None, w, *cotangents


def _conjugate_gradient(
    system: NormalSystem, budget: Budget, start: Tensor | None, b: Tensor
) -> Tensor:
    """Solve Mx = b for b scaled to a largest entry of 1, so that no product under- or overflows."""
    scale = per_image(_scale(b), b)
    b = b / scale
    limit = budget.tol * batched_norm(b)
    x = torch.zeros_like(b) if start is None else (start / scale).to(b.dtype)
    r = b if start is None else b - system.apply(x)
    p, rho = r, batched_inner(r, r)
    active = rho.sqrt() > limit
    for k in range(budget.max_iterations):
        if k % SYNC_EVERY == 0 and not bool(active.any()):
            break
        Mp = system.apply(p)
        alpha = per_image(_ratio(rho, batched_inner(p, Mp), active), p)
        x, r = x + alpha * p, r - alpha * Mp
        new = torch.where(active, batched_inner(r, r), rho)
        p = r + per_image(_ratio(new, rho, active), p) * p
        rho = new
        active = rho.sqrt() > limit
    _report("solve_normal", rho.sqrt(), limit, budget)
    return x * scale


def _scale(b: Tensor) -> PerImage:
    """The largest modulus of each sample; 1 for a sample that is exactly 0."""
    largest = b.detach().abs().flatten(1).amax(1)
    return torch.where(largest == 0, torch.ones_like(largest), largest)


def _ratio(above: Tensor, below: Tensor, active: Flags) -> PerImage:
    """above / below where a sample is active, 0 where it rests."""
    return torch.where(active, above / torch.where(active, below, 1), 0)


def _report(name: str, residual: Tensor, limit: Tensor, budget: Budget) -> None:
    """Warn when a sample is above its limit, NaN included."""
    failed = ~(residual <= limit)
    if not bool(failed.any()):
        return
    worst = float((residual / limit)[failed].max()) * budget.tol
    warnings.warn(
        f"{name}: {int(failed.sum())} of {len(failed)} samples are above the relative residual "
        f"{budget.tol:.1e} after {budget.max_iterations} iterations; the worst is at {worst:.1e}. "
        "Allow more iterations, a larger tol or a smaller gamma.",
        ConvergenceWarning,
        stacklevel=3,
    )


def least_norm(
    operator: Operator, y: Tensor, *, tol: float | None = None, max_iterations: int = MAX_ITERATIONS
) -> Image:
    """A⁺y by CGLS from 0, whose iterates stay in the range of A*: the limit has the least norm.

    Args:
        operator: A, through `forward` and `adjoint`.
        y: (B, …).
        tol: ‖A*(y − Ax)‖ / ‖A*y‖ at which a sample is done.
        max_iterations: applications of A*A at most.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`.
    """
    budget = Budget(default_tol(y.dtype) if tol is None else tol, max_iterations)
    scale = per_image(_scale(y), y)
    r = y / scale
    s = operator.adjoint(r)
    x, p, rho = torch.zeros_like(s), s, batched_inner(s, s)
    limit = budget.tol * rho.sqrt()
    active = rho.sqrt() > limit
    for k in range(max_iterations):
        if k % SYNC_EVERY == 0 and not bool(active.any()):
            break
        q = operator.forward(p)
        alpha = _ratio(rho, batched_inner(q, q), active)
        x, r = x + per_image(alpha, p) * p, r - per_image(alpha, q) * q
        s = operator.adjoint(r)
        new = torch.where(active, batched_inner(s, s), rho)
        p = s + per_image(_ratio(new, rho, active), p) * p
        rho = new
        active = rho.sqrt() > limit
    _report("least_norm", rho.sqrt(), limit, budget)
    result: Tensor = x * per_image(_scale(y), x)
    return result
