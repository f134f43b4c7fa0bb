"""Davis–Yin three-operator splitting."""

from dataclasses import dataclass
from typing import NamedTuple

from unfold.algorithms.algorithm import Algorithm, Guarantee, flat
from unfold.errors import ConfigError
from unfold.parameters.constraints import Interval, positive
from unfold.parameters.declare import param
from unfold.priors.prior import Prior
from unfold.problem import Problem
from unfold.typing import Image, Scalar


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
