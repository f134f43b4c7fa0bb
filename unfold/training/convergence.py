"""Convergence of a step as values for the log: forward, backward, linear solves."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unfold.models.model import Solution
from unfold.solvers.report import SolveReport

Values = dict[str, Tensor | float]
"""By the name of the curve; empty where nothing converges."""


def of_forward(solutions: Sequence[Solution]) -> Values:
    """Residuals of equilibria, and iterations."""
    found = [(s.converged, s.residual, s.iterations) for s in solutions if s.converged is not None]
    penalties = [s.penalty for s in solutions if s.penalty is not None]
    values = _summary("train/", found)
    if found and penalties:
        values["train/penalty"] = torch.stack(penalties).detach().mean()
    return values


def of_backward(solutions: Sequence[Solution]) -> Values:
    """The same of the linear equation of the implicit gradient."""
    reports = [s.backward for s in solutions if s.backward is not None]
    return _summary(
        "train/backward_",
        [(r.converged, r.residual, r.iterations) for r in reports if r.converged is not None],
    )


def _summary(prefix: str, rows: Sequence[tuple[Tensor | None, ...]]) -> Values:
    """The share that converged, the largest residual and the mean number of iterations."""
    if not rows:
        return {}
    columns = [[v for v in column if v is not None] for column in zip(*rows, strict=True)]
    converged, residual, iterations = (torch.cat(column) for column in columns)
    return {
        f"{prefix}converged": converged.float().mean(),
        f"{prefix}residual": residual.max(),
        f"{prefix}iterations": iterations.float().mean(),
    }


def of_solves(solves: Sequence[SolveReport]) -> Values:
    """The linear solves of a step, those of the backward pass included."""
    if not solves:
        return {}
    return {
        "train/solves": float(len(solves)),
        "train/solve_iterations": torch.cat([s.iterations for s in solves]).float().mean(),
        "train/solve_residual": torch.stack([s.residual.max() for s in solves]).max(),
        "train/solve_converged": torch.cat([s.converged for s in solves]).float().mean(),
    }
