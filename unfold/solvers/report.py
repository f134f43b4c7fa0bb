"""How linear solves ended: a warning of those that fell short, a record for whoever watches."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.typing import Flags, PerImage


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
    name: str, residual: PerImage, right: PerImage, tol: float, iterations: PerImage
) -> None:
    """Record how a solve ended, and warn when a sample is above its limit, NaN included.

    Args:
        name: of what was solved.
        residual: its norm, (B,).
        right: the norm of the right-hand side, (B,).
        tol: what the residual may be relative to it.
        iterations: steps that each sample took, (B,).
    """
    converged = residual <= tol * right
    if _watching:
        relative = residual / torch.where(right == 0, 1, right)
        for record in tuple(_watching):
            record.append(SolveReport(name, iterations, relative, converged))
    if not bool(converged.all()):
        _warn(name, residual, right, tol, iterations, ~converged)


def _warn(
    name: str, residual: PerImage, right: PerImage, tol: float, iterations: PerImage, failed: Flags
) -> None:
    worst = float((residual / right)[failed].max())
    warnings.warn(
        f"{name}: {int(failed.sum())} of {len(failed)} samples are above the relative residual "
        f"{tol:.1e} after {int(iterations.max())} iterations; the worst is at {worst:.1e}. "
        "Allow more iterations, a larger tol or a smaller gamma.",
        ConvergenceWarning,
        stacklevel=4,
    )
