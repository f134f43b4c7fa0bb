"""Deep equilibrium: the fixed point of the step, over its whole state."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unfold.models.equilibrium_gradient import EquilibriumBackward, Implicit
from unfold.models.model import Model, Solution, Steps
from unfold.parameters.bounds import Declared, at_least, bounded, nonnegative, tolerance
from unfold.pytree import same_as, tensors
from unfold.random import Draws
from unfold.solvers.acceleration import Anderson
from unfold.solvers.fixed_point import FixedPoint, Solver, fixed_point, pack, unpack
from unfold.solvers.implicit import BackwardReport, one_step, products
from unfold.solvers.result import ConvergenceWarning, Stopping


@dataclass(frozen=True)
class JacobianPenalty(Declared):
    """weight · E‖Jᵀε‖² / N = weight · ‖J‖²_F / N, ε Gaussian, J the Jacobian at the equilibrium.

    N is the size of the state, so that the penalty does not depend on the size of the images.

    Args:
        weight: of the penalty in the loss; 0 for none.
        probes: draws of ε per image, at least 1.

    Source: Bai, Koltun and Kolter, Stabilizing equilibrium models by Jacobian regularization, ICML
    2021, equations (4) and (5).
    """

    weight: float = bounded(0.0, nonnegative)
    probes: int = bounded(1, at_least(1))

    def value(self, T: Callable[[Any], Any], state: Any, draws: Draws) -> Float[Tensor, ""]:
        """The penalty of a batch, with a gradient in what T depends on; `state` is held fixed.

        The draws are those of the probes, one set for each image.
        """
        start, end = one_step(T, state)
        outputs, leaves, z = tuple(tensors(end)), tensors(start), pack(state)
        total = z.new_zeros(())
        for probe in range(self.probes):
            noise = draws.within("jacobian").like(z).normal(str(probe), z.shape[1:])
            product = products(outputs, leaves, unpack(noise, outputs))
            total = total + pack(product).square().mean()
        return self.weight / self.probes * total


SLOW = 300
"""Amplification of a residual into an error above which its estimate is often too small itself."""


def _report(end: FixedPoint, stopping: Stopping) -> None:
    """Warn of the samples whose error is too large, or whose estimate is uncertain."""
    slow = (end.error > SLOW * end.residual) & (10 * end.error > stopping.accuracy)
    if bool((bad := slow | ~end.converged).any()):
        warnings.warn(
            f"The equilibrium was not reached for {int(bad.sum())} of {len(bad)} images, or the "
            f"iteration hardly contracts: after {int(end.iterations.max())} iterations the largest "
            f"estimated relative error is {float(end.error.max()):.1e}, {stopping.accuracy:.1e} "
            "is expected, and it may be several times too small. Raise DEQ.max_iterations, or use "
            "a more contractive prior.",
            ConvergenceWarning,
            stacklevel=2,
        )


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
    """

    needs_contraction: ClassVar[bool] = True

    tol: float = bounded(5e-4, tolerance)
    accuracy: float = bounded(1e-4, tolerance)
    max_iterations: int = bounded(100, at_least(1))
    solver: Solver = field(default_factory=Anderson)
    backward: EquilibriumBackward = field(default_factory=Implicit)
    penalty: JacobianPenalty = field(default_factory=JacobianPenalty)

    refuses_inexact_gradients = same_as("backward.refuses")

    def run(self, steps: Steps) -> Solution:
        algorithm, problem = steps.at(0)
        images: list[Tensor] = []

        def T(state: Any) -> Any:
            new = algorithm.step(state, problem)
            if steps.keep_iterates:
                images.append(algorithm.image(new).detach())
            return new

        with torch.no_grad():
            first = algorithm.init(problem)
            if steps.keep_iterates:
                images.append(algorithm.image(first))
            stopping = Stopping(self.tol, self.max_iterations, self.accuracy, every=3)
            state, end = fixed_point(T, first, self.solver, stopping)
            found = unpack(end.z, first)
        if steps.draws is None:  # a training, which has draws, reports by its own policy
            _report(end, stopping)
        report, penalty, recorded = BackwardReport(end.error), None, partial(steps.step, 0)
        if torch.is_grad_enabled():
            state = self.backward.attach(recorded, found, report)
            penalty = steps.penalty(0, state)
            if steps.draws is not None and self.penalty.weight > 0:
                size = self.penalty.value(recorded, found, steps.draws)
                penalty = size if penalty is None else size + penalty
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
        )
