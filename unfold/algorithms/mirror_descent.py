"""Mirror descent, and its proximal form in the geometry of a potential."""

from dataclasses import dataclass, field

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState, flat
from unfold.algorithms.potentials import NegativeEntropy, Potential
from unfold.parameters.constraints import nonnegative, positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_image
from unfold.typing import Scalar


@dataclass(frozen=True)
class MirrorDescent(Algorithm[ImageState]):
    """Mirror descent with potential φ for min_x f(x) + λ g(x).

    x⁺ = ∇φ*(∇φ(x) − t(∇f(x) + λ∇g(x))), t = τ times the unit of φ.

    Args:
        potential: φ. Its unit is 1/‖A‖², and 1/Σy for `BurgEntropy`.
        stepsize: τ; converges for t ≤ 1/L where Lφ − (f + λg) is convex.
        lambda_reg: λ, how much the prior counts; may be 0.

    Source: Beck and Teboulle, Mirror descent and nonlinear projected subgradient methods for convex
    optimization, Oper. Res. Lett. 31 (2003); Bauschke, Bolte and Teboulle, A descent lemma beyond
    Lipschitz gradient continuity, Math. Oper. Res. 42 (2017), theorem 1, for the step.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True
    needs_g = frozenset({"grad"})

    potential: Potential = field(default_factory=NegativeEntropy)
    stepsize: Scalar = param(0.9, positive)
    lambda_reg: Scalar = param(0.05, nonnegative)

    def init(self, problem: Problem) -> ImageState:
        return ImageState(x=self.potential.start(problem.start))

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, g, phi, lam = problem.f, problem.g, self.potential, self.lambda_reg
        t = self.stepsize * per_image(phi.unit(problem), state.x)
        p = phi.forward(state.x) - t * (f.grad(state.x) + lam * g.grad(state.x))
        x = phi.back(p)
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        phi = self.potential
        t = flat(self.stepsize) * phi.unit(problem)
        condition = "stepsize · unit ≤ 1/L, f + lambda_reg·g L-smooth relative to φ"
        return Guarantee.when(condition, t * phi.smoothness(problem, self.lambda_reg) <= 1)
