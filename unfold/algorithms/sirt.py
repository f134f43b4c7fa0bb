"""SIRT, and the sums of rows and columns of operators without negative entries."""

from dataclasses import dataclass

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState, flat
from unfold.algorithms.nonnegative import expect_nonnegative, inverse
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.typing import Scalar


@dataclass(frozen=True)
class SIRT(Algorithm[ImageState]):
    """Simultaneous iterative reconstruction for weighted least squares min_x ½‖Ax − y‖²_R.

    x⁺ = x + τ C A*R(y − Ax), C = diag(1/A*1), R = diag(1/A1).

    Minimises ½‖Ax − y‖² with the weights R. There is no place for a prior: regularisation is to
    stop early, and learned parts of a prior cannot act. With another fidelity, −∇d(Ax, y) stands
    for y − Ax. A pixel that no measurement covers is unchanged. A must have no negative entries.

    Args:
        stepsize: τ; converges for τ in (0, 2), whatever the operator's norm.

    Source: Gregor and Benson, Computational analysis and improvement of SIRT, TMI 27 (2008),
    equation (2), with the relaxation τ.
    """

    needs_f = frozenset({"grad"})
    uses_g = False
    solves = "½‖Ax − y‖² with the weights R"

    stepsize: Scalar = param(1.0, positive)

    def init(self, problem: Problem) -> ImageState:
        expect_nonnegative(self, problem)
        return ImageState(x=problem.start)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, tau = problem.f, self.stepsize
        C, R = inverse(f.column_sums), inverse(f.row_sums)
        slope = f.fidelity.grad(problem.A(state.x), problem.y)
        x = state.x - tau * C * problem.A_adjoint(R * slope)
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        constant = flat(problem.f.fidelity.lipschitz(problem.y))
        condition = "0 < stepsize < 2/L_d, which is 2 for least squares"
        return Guarantee.when(condition, flat(self.stepsize) * constant < 2)
