"""What can go wrong in a step of a training: in words, with figures and the way out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.errors import ConvergenceError, NonFiniteError, UnfoldError
from unfold.models.model import Solution
from unfold.solvers.implicit import BackwardReport


class Mishap(NamedTuple):
    """Why a step is not to be trusted.

    error: what it is where the training ends for it.
    text: what happened, with figures; a sentence without its full stop.
    remedy: what to change; likewise.
    limit: the key that bounds how often it may happen.
    """

    error: type[UnfoldError]
    text: str
    remedy: str
    limit: str


class Ending(NamedTuple):
    """How the iterations of some images ended, forward and, once it was run, backward.

    names: the index of every image.
    converged: whether its equilibrium was reached, (B,).
    residual: of the equilibrium, (B,).
    iterations: of the equilibrium, (B,).
    backward: of its gradient.
    """

    names: tuple[int, ...]
    converged: Tensor
    residual: Tensor
    iterations: Tensor
    backward: BackwardReport | None

    @property
    def gradient_converged(self) -> Tensor | None:
        """Whether the gradient was reached, (B,); None where no tolerance is asked of it."""
        report = self.backward
        return report.converged if report is not None and report.aims_at_tolerance else None


def ending(names: Sequence[int], solution: Solution) -> Ending | None:
    """What of a solution a step is judged by; None where its model promises no equilibrium."""
    if solution.converged is None:
        return None
    iterations, backward = solution.iterations, solution.backward
    return Ending(tuple(names), solution.converged, solution.residual, iterations, backward)


def not_finite(step: int, where: Callable[[], str]) -> Mishap:
    """A loss or a gradient that is not finite, and where the numbers stopped being so."""
    text = f"The loss or a gradient of step {step} is not finite: {where()}"
    remedy = "Lower optimizer.lr or algo.stepsize, or set trainer.gradient_clip"
    return Mishap(NonFiniteError, text, remedy, "trainer.nonfinite_limit")


def not_reached(step: int, endings: Sequence[Ending]) -> Mishap:
    """Equilibria, or gradients of them, that were not reached within their iterations."""
    found = [*_forward(endings), *_backward(endings)] or ["it is one of another process"]
    text = f"An equilibrium or its gradient was not reached in step {step}: {'; '.join(found)}"
    remedy = (
        "Raise model.max_iterations or model.backward.max_iterations, lower optimizer.lr, or take "
        "a more contractive prior"
    )
    return Mishap(ConvergenceError, text, remedy, "trainer.unreached_limit")


def _forward(endings: Sequence[Ending]) -> list[str]:
    names = [name for one in endings for name in one.names]
    missed = torch.cat([~one.converged for one in endings]) if endings else torch.zeros(0).bool()
    if not bool(missed.any()):
        return []
    residual = torch.cat([one.residual for one in endings])[missed]
    iterations = torch.cat([one.iterations for one in endings])[missed]
    first = names[int(missed.nonzero()[0])]
    return [
        f"{int(missed.sum())} of {len(missed)} images, image {first} first, are at a residual of "
        f"{float(residual.max()):.1e} after {int(iterations.max())} iterations"
    ]


def _backward(endings: Sequence[Ending]) -> list[str]:
    known = [(one.backward, one.gradient_converged) for one in endings]
    reports = [(report, flags) for report, flags in known if report and flags is not None]
    missed = torch.cat([~flags for _, flags in reports]) if reports else torch.zeros(0).bool()
    if not bool(missed.any()):
        return []
    residuals = [report.residual for report, _ in reports if report.residual is not None]
    iterations = [report.iterations for report, _ in reports if report.iterations is not None]
    return [
        f"the gradients of {int(missed.sum())} of {len(missed)} are at a residual of "
        f"{float(torch.cat(residuals).max()):.1e} after {int(torch.cat(iterations).max())} products"
    ]
