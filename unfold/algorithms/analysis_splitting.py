"""Splittings of g = h∘K by z = Kx: half-quadratic, and of an augmented Lagrangian."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import pad

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageAlgorithm, ImageState, flat
from unfold.parameters.bounds import bounded, whole
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.physics.closed_forms import Isometry
from unfold.problem import Problem
from unfold.solvers.conjugate_gradient import SumSystem, solve_sum
from unfold.typing import Field, Image, Scalar


@dataclass(frozen=True)
class AnalysisHQS(ImageAlgorithm):
    """Half-quadratic splitting for min_{x,z} f(x) + λ h(z) + ‖Kx − z‖²/(2γ), g = h∘K.

    z = prox_{γλh}(Kx);  x⁺ = (γA*A + K*K)⁻¹(γA*y + K*z).

    Untied learned K and functions for the prox make it a cascade of shrinkage fields. The inverse
    is one division in Fourier space where A and K are circular, else an iterative solve.

    Args:
        stepsize: γ, any positive number.
        lambda_reg: λ, how much the prior counts.
        padding: by how many pixels images are extended before a step, and cropped after it, where
            A is the identity: K would connect opposite borders. Other A say what is beyond them.

    Source: Wang, Yang, Yin and Zhang, A new alternating minimization algorithm for total variation
    image reconstruction, SIAM J. Imaging Sci. 1 (2008), section 2; Schmidt and Roth, Shrinkage
    fields for effective image restoration, CVPR 2014, equation 10.
    """

    needs_f = frozenset({"quadratic"})
    needs_g = frozenset({"shrinkage"})
    solves = "f + λ(the Moreau envelope of h)∘K"

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    padding: int = bounded(0, whole(0), "in pixels")

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        g, gamma, lam = problem.g, self.stepsize, self.lambda_reg
        p = self.padding if isinstance(problem.f.operator, Isometry) else 0
        x, At_y = (pad(t, (p,) * 4, mode="replicate") for t in (state.x, problem.At_y))
        z = g.shrink(g.analysis.forward(x), gamma * lam)
        x = _fit(problem, At_y, z, gamma, x)
        return ImageState(x[..., p : x.shape[-2] - p, p : x.shape[-1] - p])

    def guarantee(self, problem: Problem) -> Guarantee:
        condition = "stepsize > 0, and A and K have no common null space"
        return Guarantee.when(condition, flat(self.stepsize) > 0)


class AnalysisADMMState(NamedTuple):
    """x fits the data; u is the scaled dual variable of Kx = z."""

    x: Image
    u: Field


@dataclass(frozen=True)
class AnalysisADMM(Algorithm[AnalysisADMMState]):
    """Alternating direction method of multipliers for min_x f(x) + λ h(Kx), split as Kx = z.

    z = prox_{γλh}(Kx + u);  u⁺ = u + η(Kx − z);  x⁺ = (γA*A + K*K)⁻¹(γA*y + K*(z − u⁺)).

    With learned filters K and functions for the prox it is ADMM-Net. The inverse is that of
    `AnalysisHQS`.

    Args:
        stepsize: γ, any positive number.
        lambda_reg: λ, how much the prior counts.
        dual_rate: η in (0, (1 + √5)/2); 1 is the plain method.

    Source: Goldstein and Osher, The split Bregman method for L1-regularized problems, SIAM J.
    Imaging Sci. 2 (2009); Glowinski, Numerical methods for nonlinear variational problems (1984),
    theorem VI.5.1, for η; Yang, Sun, Li and Xu, Deep ADMM-Net, NeurIPS 2016, equation 5.
    """

    needs_f = frozenset({"quadratic"})
    needs_g = frozenset({"shrinkage"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    dual_rate: Scalar = param(1.0, Interval(0.0, (1 + math.sqrt(5)) / 2))

    def init(self, problem: Problem) -> AnalysisADMMState:
        x = problem.start
        return AnalysisADMMState(x, torch.zeros_like(problem.g.analysis.forward(x)))

    def step(self, state: AnalysisADMMState, problem: Problem) -> AnalysisADMMState:
        g, gamma, lam = problem.g, self.stepsize, self.lambda_reg
        Kx = g.analysis.forward(state.x)
        z = g.shrink(Kx + state.u, gamma * lam)
        u = state.u + self.dual_rate * (Kx - z)
        return AnalysisADMMState(_fit(problem, problem.At_y, z - u, gamma, state.x), u)

    def guarantee(self, problem: Problem) -> Guarantee:
        condition = "stepsize > 0 and 0 < dual_rate < 1.618, and A and K have no common null space"
        return Guarantee.when(condition, flat(self.dual_rate) < (1 + math.sqrt(5)) / 2)


def _fit(problem: Problem, At_y: Image, z: Field, gamma: Scalar, start: Image) -> Image:
    """(γA*A + K*K)⁻¹(γA*y + K*z); iterations, where there are any, begin at `start`."""
    K = problem.g.analysis
    system = SumSystem(((problem.f.operator, gamma), (K, 1.0)))
    return solve_sum(system, gamma * At_y + K.adjoint(z), start, problem.f.solve_tol)
