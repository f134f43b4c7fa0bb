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
    converged = [s.converged for s in solutions if s.converged is not None]
    if not converged:
        return {}
    values: Values = {
        "train/converged": torch.cat(converged).float().mean(),
        "train/residual": torch.cat([s.residual for s in solutions]).max(),
        "train/iterations": torch.cat([s.iterations for s in solutions]).float().mean(),
    }
    penalties = [s.penalty for s in solutions if s.penalty is not None]
    if penalties:
        values["train/penalty"] = torch.stack(penalties).detach().mean()
    return values


def of_backward(solutions: Sequence[Solution]) -> Values:
    """The same of the linear equation of the implicit gradient."""
    reports = [s.backward for s in solutions if s.backward is not None]
    converged = [r.converged for r in reports if r.converged is not None]
    if not converged:
        return {}
    residuals = [r.residual for r in reports if r.residual is not None]
    iterations = [r.iterations for r in reports if r.iterations is not None]
    return {
        "train/backward_converged": torch.cat(converged).float().mean(),
        "train/backward_residual": torch.cat(residuals).max(),
        "train/backward_iterations": torch.cat(iterations).float().mean(),
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
