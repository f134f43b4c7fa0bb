"""The diagonally preconditioned primal–dual method."""

from dataclasses import dataclass

import torch

from unfold.algorithms.algorithm import Algorithm, Guarantee, flat
from unfold.algorithms.nonnegative import expect_nonnegative, filled
from unfold.algorithms.pdhg import PDHGState, relaxed
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_field
from unfold.typing import Scalar


@dataclass(frozen=True)
class PreconditionedPDHG(Algorithm[PDHGState]):
    """Diagonally preconditioned primal–dual method for min_x d(Ax, y) + λ g(x).

    ũ = prox_{Σd*}(u + ΣAx̄);  u⁺ = u + β(ũ − u);  x̃ = prox_{tλg}(x − tA*u⁺);
    x̄⁺ = 2x̃ − x;  x⁺ = x + β(x̃ − x), with Σ = σ diag(1/A1) and t = τ / max(A*1).

    The steps follow from the sums of the rows and columns of A, without its norm, and each
    measurement has its own: useful where rows differ in size. A must have no negative entries.

    Args:
        stepsize: τ; converges for τσ < 1.
        stepsize_dual: σ.
        lambda_reg: λ, how much the prior counts.
        beta: β in (0, 2), over-relaxation above 1; 1 is the plain method.

    Source: Pock and Chambolle, Diagonal preconditioning for first order primal-dual algorithms in
    convex optimization, ICCV 2011, lemma 2 with α = 1; the primal steps are their smallest, because
    the prox of g takes one number.
    """

    needs_f = frozenset({"prox_conj"})
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(0.95, positive)
    stepsize_dual: Scalar = param(1.0, positive)
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.0, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> PDHGState:
        expect_nonnegative(self, problem)
        x = problem.start
        return PDHGState(x=x, x_bar=x, u=torch.zeros_like(problem.y))

    def step(self, state: PDHGState, problem: Problem) -> PDHGState:
        f, g, lam, beta = problem.f, problem.g, self.lambda_reg, self.beta
        tau = self.stepsize / problem.f.column_sums.flatten(1).amax(1).reshape(-1, 1, 1, 1)
        sigma = per_field(self.stepsize_dual, state.u) / filled(f.row_sums)
        u = f.fidelity.prox_conj(state.u + sigma * problem.A(state.x_bar), problem.y, sigma)
        u = relaxed(state.u, u, beta)
        x = g.prox(state.x - tau * problem.A_adjoint(u), tau * lam)
        x_bar = 2 * x - state.x
        x = relaxed(state.x, x, beta)
        return PDHGState(x, x_bar, u)

    def guarantee(self, problem: Problem) -> Guarantee:
        product, beta = flat(self.stepsize) * flat(self.stepsize_dual), flat(self.beta)
        condition = "stepsize · stepsize_dual < 1 and 0 < beta < 2"
        return Guarantee.when(condition, product < 1, beta > 0, beta < 2)
