"""Splitting methods: ADMM, Douglas–Rachford, half-quadratic, Davis–Yin."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from unfold.algorithms.algorithm import (
    Algorithm,
    Guarantee,
    ImageAlgorithm,
    ImageState,
    flat,
    largest,
    smallest,
)
from unfold.errors import ConfigError
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.priors.prior import Prior
from unfold.problem import Problem
from unfold.typing import Image, Scalar


class ADMMState(NamedTuple):
    """x fits the data, z the prior, u is the scaled dual variable of x = z."""

    x: Image
    z: Image
    u: Image


@dataclass(frozen=True)
class ADMM(Algorithm[ADMMState]):
    """Alternating direction method of multipliers for min_x f(x) + λ g(x), split as x = z.

    x⁺ = prox_{γf}(z − u);  x̂ = βx⁺ + (1 − β)z;  z⁺ = prox_{γλg}(x̂ + u);  u⁺ = u + x̂ − z⁺.

    Args:
        stepsize: γ, any positive number.
        lambda_reg: λ, how much the prior counts.
        beta: β in (0, 2), over-relaxation above 1; 1 is the plain method.

    Source: Boyd et al., Distributed optimization and statistical learning via ADMM, Found. Trends
    Mach. Learn. 3 (2011), equations (3.5) to (3.7) and section 3.4.3, with γ = 1/ρ.
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.0, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> ADMMState:
        return ADMMState(x=problem.start, z=problem.start, u=torch.zeros_like(problem.start))

    def step(self, state: ADMMState, problem: Problem) -> ADMMState:
        f, g = problem.f, problem.g
        gamma, lam, beta = self.stepsize, self.lambda_reg, self.beta
        x = f.prox(state.z - state.u, gamma)
        relaxed = beta * x + (1 - beta) * state.z
        z = g.prox(relaxed + state.u, gamma * lam)
        u = state.u + relaxed - z
        return ADMMState(x, z, u)

    def image(self, state: ADMMState) -> Image:
        return state.z

    def guarantee(self, problem: Problem) -> Guarantee:
        return Guarantee("stepsize > 0 and 0 < beta < 2", 0 < largest(self.beta) < 2)


class DRSState(NamedTuple):
    """z carries the iteration; v is the image that the prior made last."""

    z: Image
    v: Image


@dataclass(frozen=True)
class DRS(Algorithm[DRSState]):
    """Douglas–Rachford splitting for min_x f(x) + λ g(x).

    x = prox_{γf}(z);  v⁺ = prox_{γλg}(2x − z);  z⁺ = z + β(v⁺ − x).

    Args:
        stepsize: γ, any positive number.
        lambda_reg: λ, how much the prior counts.
        beta: β in (0, 2), over-relaxation above 1; 1 is the plain method.

    Source: Eckstein and Bertsekas, On the Douglas–Rachford splitting method and the proximal point
    algorithm for maximal monotone operators, Math. Program. 55 (1992), theorem 7; in the form of
    Combettes and Pesquet, A Douglas–Rachford splitting approach to nonsmooth convex variational
    signal recovery, IEEE J. Sel. Top. Signal Process. 1 (2007).
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"prox"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.0, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> DRSState:
        return DRSState(z=problem.start, v=problem.start)

    def step(self, state: DRSState, problem: Problem) -> DRSState:
        f, g = problem.f, problem.g
        gamma, lam, beta = self.stepsize, self.lambda_reg, self.beta
        x = f.prox(state.z, gamma)
        v = g.prox(2 * x - state.z, gamma * lam)
        z = state.z + beta * (v - x)
        return DRSState(z, v)

    def image(self, state: DRSState) -> Image:
        return state.v

    def guarantee(self, problem: Problem) -> Guarantee:
        holds = smallest(self.beta) > 0 and largest(self.beta) < 2
        return Guarantee("stepsize > 0 and 0 < beta < 2", holds)


@dataclass(frozen=True)
class HQS(ImageAlgorithm):
    """Half-quadratic splitting for min_{x,u} λ g(x) + f(u) + ‖x − u‖²/(2γ).

    x⁺ = prox_{γλg}(prox_{γf}(x)).

    For a fixed γ it minimises λg(x) + min_u f(u) + ‖x − u‖²/(2γ), in which the Moreau envelope of f
    stands for f: not f + λg. A schedule that lowers γ leads towards f + λg.

    Args:
        stepsize: γ, any positive number, or a schedule such as `Geometric`.
        lambda_reg: λ, how much the prior counts.

    Source: Geman and Yang, Nonlinear image recovery with half-quadratic regularization, TIP 4
    (1995); its convergence is that of Bauschke, Combettes and Reich, The asymptotic behavior of the
    composition of two resolvents, Nonlinear Anal. 60 (2005).
    """

    needs_f = frozenset({"prox"})
    needs_g = frozenset({"prox"})
    solves = "λg + the Moreau envelope of f"

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, gamma, lam = problem.f, problem.g, self.stepsize, self.lambda_reg
        u = f.prox(state.x, gamma)
        x = g.prox(u, gamma * lam)
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        condition = "stepsize > 0, the same in all iterations, for λg + the Moreau envelope of f"
        return Guarantee(condition, smallest(self.stepsize) > 0)


class DavisYinState(NamedTuple):
    """z carries the iteration; v is the image that the second prior made last."""

    z: Image
    v: Image


@dataclass(frozen=True)
class DavisYin(Algorithm[DavisYinState]):
    """Davis–Yin three-operator splitting for min_x f(x) + λ g₁(x) + λ g₂(x).

    x = prox_{γλg₁}(z);  v⁺ = prox_{γλg₂}(2x − z − γ∇f(x));  z⁺ = z + β(v⁺ − x), g = g₁ + g₂.

    What is read out is v, so that a constraint belongs to the second term.

    Args:
        stepsize: γ; converges for γ < 2/L_f.
        lambda_reg: λ, how much both terms count.
        beta: β in (0, 2 − γL_f/2), the relaxation; 1 is the plain method.

    Raises:
        ConfigError: the prior does not have two terms, or one of them has no prox.

    Source: Davis and Yin, A three-operator splitting scheme and its optimization applications,
    Set-Valued Var. Anal. 25 (2017), algorithm 1 and theorem 2.1.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"split"})

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    lambda_reg: Scalar = param(0.01, positive)
    beta: Scalar = param(1.0, Interval(0.0, 2.0))

    def init(self, problem: Problem) -> DavisYinState:
        _check(problem.g.terms)
        return DavisYinState(z=problem.start, v=problem.start)

    def step(self, state: DavisYinState, problem: Problem) -> DavisYinState:
        f, (g1, g2) = problem.f, problem.g.terms
        gamma, lam, beta = self.stepsize, self.lambda_reg, self.beta
        x = g1.prox(state.z, gamma * lam)
        v = g2.prox(2 * x - state.z - gamma * f.grad(x), gamma * lam)
        z = state.z + beta * (v - x)
        return DavisYinState(z, v)

    def image(self, state: DavisYinState) -> Image:
        return state.v

    def guarantee(self, problem: Problem) -> Guarantee:
        scaled = flat(self.stepsize) * problem.lipschitz
        beta, condition = flat(self.beta), "0 < stepsize < 2/L_f and 0 < beta < 2 − stepsize·L_f/2"
        return Guarantee.when(condition, scaled < 2, beta < 2 - scaled / 2, beta > 0)


def _check(terms: tuple[Prior, ...]) -> None:
    names = [type(term).__name__ for term in terms]
    if len(terms) != 2:
        raise ConfigError(
            f"DavisYin needs a prior of two terms, got {names}; pass Sum with two terms, "
            "or use PIDAL, which takes any number."
        )
    for name, term in zip(names, terms, strict=True):
        if "prox" not in term.offers():
            raise ConfigError(f"DavisYin needs a prox of each term, and {name} has none.")
