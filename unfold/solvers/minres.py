"""MINRES: Hermitian systems that are indefinite, or singular and consistent."""

import torch
from torch import Tensor

from unfold.solvers.conjugate_gradient import (
    MAX_ITERATIONS,
    Budget,
    System,
    default_tol,
    largest_modulus,
    ratio,
    solve_system,
    tested,
)
from unfold.solvers.report import report
from unfold.tree import batched_inner, batched_norm, per_image


def minres(
    system: System, b: Tensor, *, tol: float | None = None, max_iterations: int = MAX_ITERATIONS
) -> Tensor:
    """The x of least norm with Mx = b, M Hermitian; its gradient is one more solve, at any order.

    Conjugate gradients need a positive definite M and are cheaper there. Each sample stops by
    itself and is left alone from there; scaling `b` scales the answer.

    Args:
        system: M, of any signs; where it is singular, b must be in its range, and so must what
            comes back from a loss: else there is no solution, which the residual tells.
        b: (B, …), real or complex.
        tol: ‖b − Mx‖ / ‖b‖ at which a sample is done; 1e-6, and 1e-12 in double precision, if None.
        max_iterations: applications of M at most.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`.

    Source: Paige and Saunders, Solution of sparse indefinite systems of linear equations, SINUM 12
    (1975), section 6.
    """
    budget = Budget(default_tol(b.dtype) if tol is None else tol, max_iterations)
    return solve_system(system, b, budget, method=_minres)


def _minres(system: System, budget: Budget, _: Tensor | None, b: Tensor) -> Tensor:
    """Lanczos vectors v, and the least squares of the tridiagonal matrix by rotations.

    Its column k becomes (ε, δ, γ) above the diagonal and on it, so that
    d = (v − δd₁ − εd₂) / γ with d₁ and d₂ the two before, and x⁺ = x + τd.
    """
    scale = largest_modulus(b)
    b = b / per_image(scale, b)
    norm = phi = beta = batched_norm(b)
    limit, taken = budget.tol * norm, torch.zeros_like(norm)
    active = phi > limit
    v, v1 = b / per_image(torch.where(beta == 0, 1, beta), b), torch.zeros_like(b)
    x, d1, d2 = torch.zeros_like(b), torch.zeros_like(b), torch.zeros_like(b)
    beta = torch.zeros_like(beta)
    c1, s1, c2, s2 = (torch.full_like(beta, t) for t in (1.0, 0.0, 1.0, 0.0))
    for k in range(budget.max_iterations):
        if tested(k, b) and not bool(active.any()):
            break
        taken = taken + active
        p = system.apply(v) - per_image(beta, v) * v1
        alpha = batched_inner(v, p)
        p = p - per_image(alpha, v) * v
        following = batched_norm(p)
        epsilon, above = s2 * beta, c2 * beta
        delta, gamma_bar = c1 * above + s1 * alpha, c1 * alpha - s1 * above
        gamma = torch.hypot(gamma_bar, following)
        here = active & (gamma > 0)
        c2, s2 = c1, s1
        c1, s1 = ratio(gamma_bar, gamma, here), ratio(following, gamma, here)
        d = v - per_image(delta, v) * d1 - per_image(epsilon, v) * d2
        d1, d2 = d * per_image(ratio(torch.ones_like(gamma), gamma, here), d), d1
        x = x + per_image(torch.where(here, c1 * phi, 0), d1) * d1
        phi = torch.where(here, -s1 * phi, phi)
        v, v1 = p / per_image(torch.where(following == 0, 1, following), p), v
        beta = following
        active = phi.abs() > limit
    report("minres", phi.abs(), norm, budget.tol, taken)
    return x * per_image(scale, x)
