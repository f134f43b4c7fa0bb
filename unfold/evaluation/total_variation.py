"""Total variation, solved to a tolerance."""

from typing import Any

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.fidelities.l2 import L2
from unfold.initialization import Regularised
from unfold.models.classical import Classical
from unfold.models.model import Solution, Steps
from unfold.physics.operator import Operator
from unfold.priors.tv import TV
from unfold.problem import Problem, make_problem
from unfold.pytree import per_image
from unfold.solvers.conjugate_gradient import default_tol

SOLVES = 1e-4
"""The tolerance of the linear solves inside total variation, relative to that of the gap."""


def total_variation(
    y: Tensor,
    operator: Operator,
    weights: Tensor,
    model: Classical,
    precision: torch.dtype = torch.float64,
) -> Solution:
    """argmin ½‖Ax − y‖² + λ TV(x) over the images in [0, 1], to the duality gap.

    For ill-conditioned A, rounding in float32 leaves a gap of 3e-4. Where A is not linear there is
    no gap: it is the limit of Condat and Vũ's iteration, to the residual.

    Args:
        y: the measurements.
        operator: A.
        weights: λ of each image, or one for all, (B,) or (1,).
        model: the gap and the limit of iterations.
        precision: in which it is solved.
    """
    wide = y.to(precision.to_complex() if y.is_complex() else precision)
    # Errors of the solves enter the measured gap: they must be far below it.
    tol = max(default_tol(precision), SOLVES * model.tol)
    problem = make_problem(L2(), operator.to_like(wide), wide, TV(), Regularised(), tol)
    lam = weights.to(precision).reshape(-1, 1, 1, 1)
    solution = model.run(Steps((_solver(problem, lam), problem)))
    return solution._replace(image=solution.image.to(y.dtype.to_real()))


def _solver(problem: Problem, lam: Tensor) -> Algorithm[Any]:
    """The solver for these weights, with step sizes for this operator."""
    if problem.f.operator.linear:
        return AnalysisPDHG(ratio=0.01, lambda_reg=lam)
    squared = per_image(problem.norm_squared.to(lam), problem.At_y)
    return CondatVu(0.95 / squared, 0.06 * squared, lam)
