"""Deep equilibrium: the fixed point of the step, over its whole state."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from unfold.models.equilibrium_gradient import EquilibriumBackward, Implicit, Map
from unfold.models.jacobian import JacobianPenalty, contraction
from unfold.models.model import Model, Solution, Steps, begin
from unfold.parameters.bounds import at_least, bounded, nonnegative, tolerance
from unfold.random import Draws
from unfold.solvers.anderson import Anderson
from unfold.solvers.fixed_point import FixedPoint, Flat, Solver, pack, unpack
from unfold.solvers.implicit import BackwardReport


@dataclass(frozen=True)
class DEQ(Model):
    """s* = step(s*), by fixed-point iteration of the whole state; dual variables too.

    What it returns is T(s*), in training and in evaluation alike. Memory does not grow with the
    iterations: one step is recorded.

    Args:
        tol: relative residual ‖T(s) − s‖ / ‖T(s)‖ of an image at which it stops.
        accuracy: estimated relative error ‖s − s*‖ / ‖T(s)‖ of an image, asked besides `tol`.
        max_iterations: evaluations of the step at most.
        solver: picard, anderson or broyden.
        backward: implicit, jacobian_free, phantom or neumann.
        penalty: of the size of the Jacobian, added to the loss in training.
        power_iterations: products spent in evaluation on an estimate of the contraction, which
            `Solution.contraction` holds; 0 for none.
    """

    needs_contraction: ClassVar[bool] = True

    tol: float = bounded(5e-4, tolerance)
    accuracy: float = bounded(1e-3, tolerance)
    max_iterations: int = bounded(60, at_least(1))
    solver: Solver = field(default_factory=Anderson)
    backward: EquilibriumBackward = field(default_factory=Implicit)
    penalty: JacobianPenalty = field(default_factory=JacobianPenalty)
    power_iterations: int = bounded(0, nonnegative)

    @property
    def refuses_inexact_gradients(self) -> bool:
        return self.backward.refuses

    def run(
        self,
        steps: Steps,
        *,
        keep_iterates: bool = False,
        start: Any = None,
        draws: Draws | None = None,
    ) -> Solution:
        algorithm, problem = steps.at(0)
        images: list[Tensor] = []

        def T(state: Any) -> Any:
            new = algorithm.step(state, problem)
            if keep_iterates:
                images.append(algorithm.image(new).detach())
            return new

        with torch.no_grad():
            first = begin(algorithm, problem, start)
            if keep_iterates:
                images.append(algorithm.image(first))
            found, state, end = self._solve(T, first)
        report, penalty, recorded = BackwardReport(end.residual), None, partial(steps.step, 0)
        if torch.is_grad_enabled():
            state = self.backward.attach(recorded, found, report)
            if draws is not None and self.penalty.weight > 0:
                penalty = self.penalty.value(recorded, found, draws)
        return Solution(
            image=algorithm.image(state),
            state=state,
            residual=end.residual,
            iterations=end.iterations,
            converged=end.converged,
            diverged=end.diverged,
            error=end.error,
            iterates=tuple(images),
            backward=report,
            penalty=penalty,
            contraction=self._contraction(recorded, found),
        )

    def _solve(self, T: Map, start: Any) -> tuple[Any, Any, FixedPoint]:
        """(s, T(s), how it ended) for the iterate s of smallest residual."""

        def flat(z: Flat) -> Flat:
            return pack(T(unpack(z, start)))

        end = self.solver.solve(
            flat,
            pack(start),
            tol=self.tol,
            max_iterations=self.max_iterations,
            accuracy=self.accuracy,
            every=3,
        )
        return unpack(end.z, start), unpack(end.image, start), end

    def _contraction(self, T: Map, found: Any) -> Tensor | None:
        if self.power_iterations == 0 or torch.is_grad_enabled():
            return None
        return contraction(T, found, self.power_iterations)
