"""The primal–dual hybrid gradient method, plain and diagonally preconditioned."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import Algorithm, Guarantee, flat
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_field
from unfold.typing import Field, Image, Measurement, Scalar


class PDHGState(NamedTuple):
    """The image, its extrapolation, and the dual variable in the space of measurements."""

    x: Image
    x_bar: Image
    u: Measurement


@dataclass(frozen=True)
class PDHG(Algorithm[PDHGState]):
    """Primal–dual hybrid gradient (Chambolle–Pock) for min_x d(Ax, y) + λ g(x), split on A.

    ũ = prox_{σd*}(u + σAx̄);  u⁺ = u + β(ũ − u);  x̃ = prox_{τλg}(x − τA*u⁺);
    x̄⁺ = x̃ + θ(x̃ − x);  x⁺ = x + β(x̃ − x).

    Args:
        stepsize: τ; converges for τσ‖A‖² < 1 and θ = 1.
        stepsize_dual: σ.
        lambda_reg: λ, how much the prior counts.
        theta: θ in [0, 1], the extrapolation.
        beta: β in (0, 2), over-relaxation above 1; 1 is the plain method.

    Source: Chambolle and Pock, A first-order primal-dual algorithm for convex problems, J. Math.
    Imaging Vis. 40 (2011), algorithm 1, with the dual step first and K = A; Chambolle and Pock, On
    the ergodic convergence rates of a first-order primal–dual algorithm, Math. Program. 159 (2016),
    section 4.1, for β, which relaxes x and the u that is made of it.
    """

    needs_f = frozenset({"prox_conj"})
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(0.95, positive, "1/‖A‖")
    stepsize_dual: Scalar = param(0.95, positive, "1/‖A‖")
    lambda_reg: Scalar = param(0.01, positive)
    theta: Scalar = param(1.0, Interval(0.0, 1.0))
    beta: Scalar = param(1.0, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> PDHGState:
        return PDHGState(x=problem.start, x_bar=problem.start, u=torch.zeros_like(problem.y))

    def step(self, state: PDHGState, problem: Problem) -> PDHGState:
        f, g, A, A_adjoint = problem.f, problem.g, problem.A, problem.A_adjoint
        tau, sigma, lam, beta = self.stepsize, self.stepsize_dual, self.lambda_reg, self.beta
        u = f.prox_conj(state.u + per_field(sigma, state.u) * A(state.x_bar), sigma)
        u = relaxed(state.u, u, beta)
        x = g.prox(state.x - tau * A_adjoint(u), tau * lam)
        x_bar = x + self.theta * (x - state.x)
        x = relaxed(state.x, x, beta)
        return PDHGState(x, x_bar, u)

    def guarantee(self, problem: Problem) -> Guarantee:
        product = flat(self.stepsize) * flat(self.stepsize_dual) * problem.norm_squared
        theta, beta = flat(self.theta), flat(self.beta)
        condition = "stepsize · stepsize_dual · ‖A‖² < 1, theta = 1 and 0 < beta < 2"
        return Guarantee.when(condition, product < 1, theta == 1, beta > 0, beta < 2)


def relaxed(old: Field, new: Field, beta: Scalar) -> Field:
    """old + β(new − old), which is `new` to the last bit for β = 1."""
    factor = per_field(beta, new)
    return factor * new + (1 - factor) * old
