"""Conjugate gradients, sample by sample, with an implicit gradient.

Source: Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems, J. Res.
NBS 49 (1952), section 3; Golub and Van Loan, Matrix computations (2013), algorithm 11.5.1, with a
preconditioner.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.pytree import batched_inner, batched_norm, per_image, tensors, with_tensors
from unfold.solvers.linear_map import LinearMap
from unfold.solvers.result import report
from unfold.typing import Flags, Image, PerImage, Scalar

T = TypeVar("T")

_exported: ContextVar[int | None] = ContextVar("exported", default=None)


@contextmanager
def exported_iterations(count: int) -> Iterator[None]:
    """Solves in a graph that is exported meanwhile take `count` iterations, converged or not."""
    token = _exported.set(count)
    try:
        yield
    finally:
        _exported.reset(token)


MAX_ITERATIONS = 1000
SYNC_EVERY = 4


class System(ABC):
    """A Hermitian positive definite map M; a frozen dataclass."""

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """Mx."""

    def precondition(self, r: Tensor) -> Tensor:
        """Nr, N near M⁻¹, Hermitian and positive definite; r itself where none is known."""
        return r


@dataclass(frozen=True, eq=False)
class NormalSystem(System):
    """Mx = x + γA*Ax: Hermitian, and never smaller than the identity.

    Args:
        operator: A.
        gamma: γ ≥ 0; a number, a 0-d tensor or (B, 1, 1, 1).
    """

    operator: LinearMap
    gamma: Scalar

    def apply(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.gamma * self.operator.normal(x)
        return result

    def precondition(self, r: Tensor) -> Tensor:
        return self.operator.precondition(r, self.gamma)


@dataclass(frozen=True)
class Budget:
    """When to stop.

    tol: the residual relative to the right-hand side, per sample.
    max_iterations: applications of A*A at most.
    wanted: whether to stop at that number is meant, so that nothing warns of it.
    """

    tol: float
    max_iterations: int
    wanted: bool = False


Until = float | Budget | None
"""When a solve stops: at a relative residual, by a budget, or at `default_tol`."""


def default_tol(dtype: torch.dtype) -> float:
    """1e-12 in double precision, 1e-6 otherwise."""
    return 1e-12 if dtype.to_real() == torch.float64 else 1e-6


def solve_normal(
    operator: LinearMap,
    b: Image,
    gamma: Scalar,
    *,
    tol: Until = None,
    max_iterations: int = MAX_ITERATIONS,
    start: Image | None = None,
) -> Image:
    """(I + γA*A)⁻¹b by conjugate gradients; its gradient is one more solve, at any order.

    Each sample stops independently, so that its solution does not depend on the rest of the batch.
    There is no absolute tolerance: scaling `b` scales the solution.

    Args:
        operator: A; its tensors may require gradients.
        b: (B, C, H, W), real or complex.
        gamma: γ ≥ 0; a number, a 0-d tensor or (B, 1, 1, 1).
        tol: ‖b − Mx‖ / ‖b‖ at which a sample is done; 1e-6, and 1e-12 in double precision, if None;
            or a budget, which the solves of the gradient have, too.
        max_iterations: applications of A*A at most, where `tol` is no budget.
        start: where to begin, for the samples that it brings nearer than 0; carries no gradient.

    Raises:
        ConfigError: γ is a negative number; a tensor is not tested, which would synchronize.
        ShapeError: γ is a tensor that would be multiplied along another axis than the batch.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`.
    """
    _check(gamma, b)
    if not isinstance(tol, Budget):
        tol = Budget(default_tol(b.dtype) if tol is None else tol, max_iterations)
    return solve_system(NormalSystem(operator, gamma), b, tol, start)


def solve_system(
    system: System, b: Tensor, budget: Budget | None = None, start: Tensor | None = None
) -> Tensor:
    """M⁻¹b for any system, as `solve_normal` does it."""
    budget = budget or Budget(default_tol(b.dtype), MAX_ITERATIONS)
    if torch.compiler.is_exporting():
        return _conjugate_gradient(system, budget, start, b)
    given = (system, budget, start, b, *tensors(system))
    solution: Tensor = _Solve.apply(*given)  # type: ignore[no-untyped-call]
    return solution


@dataclass(frozen=True, eq=False)
class SumSystem(System):
    """Mx = Σ w_i A_i*A_i x, positive definite.

    Args:
        terms: the A_i, and w_i ≥ 0: numbers, 0-d tensors or (B, 1, 1, 1).
    """

    terms: tuple[tuple[LinearMap, Scalar], ...]

    def apply(self, x: Tensor) -> Tensor:
        return torch.stack([w * A.normal(x) for A, w in self.terms]).sum(0)


def solve_sum(system: SumSystem, b: Image, start: Image | None = None, tol: Until = None) -> Image:
    """M⁻¹b: one division in Fourier space where every A_i is known there, else iterations.

    There a frequency that no A_i passes becomes 0. The rest is as in `solve_normal`.
    """
    spectra = [A.normal_spectrum(b) for A, _ in system.terms]
    known = [s for s in spectra if s is not None]
    if len(known) < len(spectra):
        tol = default_tol(b.dtype) if tol is None else tol
        until = tol if isinstance(tol, Budget) else Budget(tol, MAX_ITERATIONS)
        return solve_system(system, b, until, start)
    M: Any = sum(w * s for s, (_, w) in zip(known, system.terms, strict=True))
    passed = torch.finfo(M.dtype).eps * M.detach().amax((-2, -1), keepdim=True) < M
    inverse = torch.where(passed, 1 / torch.where(passed, M, 1), 0)
    whole = b.is_complex()
    forward, back = (
        (torch.fft.fft2, torch.fft.ifft2) if whole else (torch.fft.rfft2, torch.fft.irfft2)
    )
    x: Tensor = back(inverse * forward(b), s=b.shape[-2:])
    return x


def _check(gamma: Scalar, b: Tensor) -> None:
    if isinstance(gamma, Tensor):
        if gamma.numel() != 1 and gamma.shape != (b.shape[0], *(1,) * (b.ndim - 1)):
            raise ShapeError(
                f"gamma has shape {tuple(gamma.shape)} for a batch of {tuple(b.shape)}; "
                f"use a number or ({b.shape[0]}, 1, 1, 1)."
            )
    elif not gamma >= 0:
        raise ConfigError(f"gamma = {gamma}: must be zero or positive, so that I + γA*A inverts.")


class _Solve(torch.autograd.Function):
    """x = M⁻¹b; its cotangent v gives w = M⁻¹v to b, and the gradient of −Re⟨w, M(θ)x⟩ to θ."""

    @staticmethod
    def forward(
        ctx: Any, system: System, budget: Budget, start: Any, b: Tensor, *theta: Any
    ) -> Tensor:
        x = _conjugate_gradient(system, budget, start, b)
        ctx.system, ctx.budget = system, budget
        ctx.save_for_backward(x, *theta)
        return x

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        x, *theta = ctx.saved_tensors
        given = (ctx.system, ctx.budget, None, v, *theta)
        w: Tensor = _Solve.apply(*given)  # type: ignore[no-untyped-call]
        own = cotangents(lambda system: [(-w, system.apply(x))], ctx.system, theta, ctx)
        return None, None, None, w, *own


def cotangents(
    pairs: Callable[[T], list[tuple[Tensor, Tensor]]], tree: T, theta: list[Tensor], ctx: Any
) -> list[Tensor | None]:
    """The gradient of Σ Re⟨a, b(θ)⟩ with respect to θ, for the pairs (a, b) that `tree` gives.

    `pairs` is called with the tree rebuilt from its tensors θ, the last inputs of the function; a
    is held constant. `ctx`, of the backward pass, says which of them need a gradient.
    """
    found: list[Tensor | None] = [None] * len(theta)
    wanted = [i for i, t in enumerate(theta) if ctx.needs_input_grad[i - len(theta)]]
    if not wanted:
        return found
    twice = torch.is_grad_enabled()
    with torch.enable_grad():
        own = [t.view_as(t) for t in theta]
        outputs = [(a, b) for a, b in pairs(with_tensors(tree, own)) if b.requires_grad]
    if not outputs:
        return found
    gradients = torch.autograd.grad(
        [b for _, b in outputs],
        [own[i] for i in wanted],
        [a for a, _ in outputs],
        create_graph=twice,
        allow_unused=True,
    )
    for i, gradient in zip(wanted, gradients, strict=True):
        found[i] = gradient
    return found


def _conjugate_gradient(system: System, budget: Budget, start: Tensor | None, b: Tensor) -> Tensor:
    """Solve Mx = b for b scaled to a largest entry of 1, so that no product under- or overflows."""
    scale = per_image(largest_modulus(b), b)
    b = b / scale
    x, r = torch.zeros_like(b), b
    if start is not None:
        own = start / scale
        rest = b - system.apply(own)
        nearer = per_image(batched_norm(rest) < batched_norm(b), b)
        x, r = torch.where(nearer, own, x), torch.where(nearer, rest, r)
    norm = batched_norm(b)
    limit, taken = budget.tol * norm, torch.zeros_like(norm)
    p = z = system.precondition(r)
    rho = batched_inner(r, z)
    residual = _norm(r, z, rho)
    active = residual > limit
    exported = torch.compiler.is_exporting()
    count = _exported.get() if exported else budget.max_iterations
    if count is None:
        raise ConfigError(
            "the network solves by conjugate gradients, of which a graph has a fixed number of "
            "iterations. Export it inside `with exported_iterations(N)`, of "
            "unfold.solvers.conjugate_gradient."
        )
    for k in range(count):
        if not exported and tested(k, b) and not bool(active.any()):
            break
        taken = taken + active
        Mp = system.apply(p)
        alpha = per_image(ratio(rho, batched_inner(p, Mp), active), p)
        x, r = x + alpha * p, r - alpha * Mp
        z = system.precondition(r)
        new = batched_inner(r, z)
        p = z + per_image(ratio(new, rho, active), p) * p
        rho, residual = new, _norm(r, z, new)
        active = residual > limit
    report("solve_normal", residual, norm, budget.tol, taken, wanted=budget.wanted or exported)
    return x * scale


def _norm(r: Tensor, z: Tensor, inner: PerImage) -> PerImage:
    """‖r‖; known already from ⟨r, z⟩ where z is r."""
    return inner.sqrt() if z is r else batched_norm(r)


def tested(k: int, like: Tensor) -> bool:
    """Whether iteration k tests for convergence: always on a CPU, else rarely (synchronization)."""
    return like.device.type == "cpu" or k % SYNC_EVERY == 0


def largest_modulus(b: Tensor) -> PerImage:
    """The largest modulus of each sample; 1 for a sample that is exactly 0."""
    largest = b.detach().abs().flatten(1).amax(1)
    return torch.where(largest == 0, 1, largest)


def ratio(above: Tensor, below: Tensor, active: Flags) -> PerImage:
    """`above` / `below` where a sample is active, 0 where it has stopped."""
    return torch.where(active, above / torch.where(active, below, 1), 0)
