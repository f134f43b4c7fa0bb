"""How iterations ended: fixed points, their estimated error, linear solves."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unfold.pytree import batched_norm
from unfold.typing import PerImage


class ConvergenceWarning(UserWarning):
    """A solve that stopped at its iteration limit: its answer is the best it reached."""


class SolveReport(NamedTuple):
    """How one linear solve of a batch ended.

    name: of what was solved.
    iterations: steps that each sample took, (B,).
    residual: relative to the right-hand side, (B,).
    converged: whether the tolerance was reached, (B,).
    """

    name: str
    iterations: Tensor
    residual: Tensor
    converged: Tensor


_watching: list[list[SolveReport]] = []
"""The records that are being kept: of all threads, as parts of a batch are solved in their own."""


@contextmanager
def watched(record: list[SolveReport]) -> Iterator[None]:
    """Add every linear solve that ends meanwhile to a record, those of a backward pass too."""
    _watching.append(record)
    try:
        yield
    finally:
        del _watching[next(i for i, one in enumerate(_watching) if one is record)]


def report(
    name: str,
    residual: PerImage,
    right: PerImage,
    tol: float,
    iterations: PerImage,
    *,
    wanted: bool = False,
) -> None:
    """Record how a solve ended, and warn when a sample is above its limit, NaN included.

    `tol` is what the norm of the residual may be relative to that of the right-hand side; both
    norms, and the iterations that each sample took, are (B,). A stop that is `wanted` warns never.
    """
    converged = residual <= tol * right
    if _watching:
        relative = residual / torch.where(right == 0, 1, right)
        for record in tuple(_watching):
            record.append(SolveReport(name, iterations, relative, converged))
    if wanted or bool(converged.all()):
        return
    warnings.warn(
        f"{name}: {int((~converged).sum())} of {len(converged)} samples are above the relative "
        f"residual {tol:.1e} after {int(iterations.max())} iterations; the worst is at "
        f"{float((residual / right)[~converged].max()):.1e}. "
        "Allow more iterations, a larger tol or a smaller gamma.",
        ConvergenceWarning,
        stacklevel=3,
    )


Flat = Float[Tensor, "batch numel"]


class FixedPoint(NamedTuple):
    """Where an iteration ended, per sample.

    z: the iterate of smallest residual; (B, N).
    image: T(z), already evaluated; (B, N).
    residual: ‖T(z) − z‖ / ‖T(z)‖; infinite where no iterate was finite; (B,).
    error: ‖z − z*‖ / ‖T(z)‖, an estimate from observed slopes of T; (B,).
    iterations: evaluations of T until the sample stopped; (B,).
    converged: whether the residual, and the error where asked, reached the tolerance; (B,).
    diverged: whether the iterates left the finite numbers; (B,).
    """

    z: Flat
    image: Flat
    residual: Tensor
    error: Tensor
    iterations: Tensor
    converged: Tensor
    diverged: Tensor


def undecided(z: Flat) -> FixedPoint:
    """Before the first evaluation."""
    batch = z.shape[0]
    no = torch.zeros(batch, dtype=torch.bool, device=z.device)
    infinite = torch.full((batch,), torch.inf, dtype=z.dtype, device=z.device)
    count = torch.zeros(batch, dtype=torch.long, device=z.device)
    return FixedPoint(z, z, infinite, infinite, count, no, no)


class Stopping(NamedTuple):
    """When an iteration z⁺ = T(z) stops.

    tol: on ‖T(z) − z‖ / ‖T(z)‖, per sample.
    max_iterations: evaluations of T at most.
    accuracy: on the estimated ‖z − z*‖ / ‖T(z)‖, per sample, besides `tol`.
    every: iterations between two tests whether all have stopped; a test synchronizes.
    """

    tol: float
    max_iterations: int
    accuracy: float = math.inf
    every: int = 1


def judge(
    best: FixedPoint, z: Flat, Tz: Flat, kappa: Tensor, count: int, stopping: Stopping
) -> tuple[FixedPoint, Tensor]:
    """Take a new pair into account; also its residuals.

    `kappa` is the estimated amplification of a residual into an error, (B,), and `count` the
    evaluations of T so far.
    """
    running = ~(best.converged | best.diverged)
    difference, size = batched_norm(Tz - z), batched_norm(Tz)
    finite = difference.isfinite() & size.isfinite()
    # 0/0 is the fixed point 0; the norms are finite here, so inf/inf cannot pass for convergence.
    residual = torch.where(difference == 0, torch.zeros_like(size), difference / size)
    residual = torch.where(finite, residual, torch.full_like(residual, torch.inf))
    better = running & finite & ((residual < best.residual) | best.residual.isinf())
    reached = torch.where(better, residual, best.residual)
    estimate = torch.where(reached == 0, 0, kappa * reached)
    error = torch.where(running & reached.isfinite(), estimate, best.error)
    small = (reached <= stopping.tol) & (error <= stopping.accuracy)
    updated = FixedPoint(
        z=torch.where(better[:, None], z, best.z),
        image=torch.where(better[:, None], Tz, best.image),
        residual=reached,
        error=error,
        iterations=torch.where(running, torch.full_like(best.iterations, count), best.iterations),
        converged=best.converged | (running & finite & small),
        diverged=best.diverged | (running & ~finite),
    )
    return updated, residual
