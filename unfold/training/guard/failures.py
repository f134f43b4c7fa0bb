"""Convergence of a training step, and what can go wrong in it: figures, causes and remedies."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.errors import ConvergenceError, NonFiniteError, UnfoldError
from unfold.models.model import Solution
from unfold.parameters.group import value_range
from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor
from unfold.solvers.implicit import BackwardReport
from unfold.solvers.result import SolveReport
from unfold.typing import Measurement, PerImage


class Failure(NamedTuple):
    """Why the gradient of a step is invalid: text and remedy are sentences without full stops.

    error: raised where the training ends for it.
    limit: the setting that bounds how often it may happen.
    """

    error: type[UnfoldError]
    text: str
    remedy: str
    limit: str


class Convergence(NamedTuple):
    """How the iterations of the images of some indices ended, (B,) each.

    `backward` is that of the gradient, and filled in by the backward pass.
    """

    names: tuple[int, ...]
    converged: Tensor
    residual: Tensor
    iterations: Tensor
    backward: BackwardReport | None

    @property
    def gradient_converged(self) -> Tensor | None:
        """Whether the gradient was reached, (B,); None where it has no tolerance."""
        report = self.backward
        return report.converged if report is not None and report.aims_at_tolerance else None


def not_finite(step: int, where: Callable[[], str]) -> Failure:
    """A loss or a gradient that is not finite, and where the first such number is."""
    text = f"The loss or a gradient of step {step} is not finite: {where()}"
    remedy = "Lower the learning rate or the step size, or clip the gradient"
    return Failure(NonFiniteError, text, remedy, "nonfinite_limit")


def not_reached(step: int, records: Sequence[Convergence]) -> Failure:
    """Equilibria, or gradients of them, that were not reached within their iterations."""
    found = list(_missed(records)) or ["it is one of another process"]
    text = f"An equilibrium or its gradient was not reached in step {step}: {'; '.join(found)}"
    remedy = (
        "Raise max_iterations of the model or of its backward pass, lower the learning rate, or "
        "use a more contractive prior"
    )
    return Failure(ConvergenceError, text, remedy, "unreached_limit")


def _missed(records: Sequence[Convergence]) -> Iterator[str]:
    """What was not reached: of the equilibria, then of their gradients."""
    names = [name for one in records for name in one.names]
    forward = _columns((one.converged, one.residual, one.iterations) for one in records)
    if forward and bool((missed := ~forward[0]).any()):
        first = names[int(missed.nonzero()[0])]
        yield (
            f"{int(missed.sum())} of {len(missed)} images, image {first} first, are at a residual "
            f"of {float(forward[1][missed].max()):.1e} after {int(forward[2][missed].max())} "
            "iterations"
        )
    reports = [r for one in records if (r := one.backward) and one.gradient_converged is not None]
    backward = _columns((r.converged, r.residual, r.iterations) for r in reports)
    if backward and bool((missed := ~backward[0]).any()):
        yield (
            f"the gradients of {int(missed.sum())} of {len(missed)} are at a residual of "
            f"{float(backward[1].max()):.1e} after {int(backward[2].max())} products"
        )


def _columns(rows: Iterable[tuple[Tensor | None, ...]]) -> list[Tensor]:
    """Each column of some rows as one tensor; none where there are no rows."""
    columns = zip(*rows, strict=True)
    return [torch.cat([v for v in column if v is not None]) for column in columns]


@torch.no_grad()
def locate_nonfinite(
    reconstructor: Reconstructor,
    y: Measurement,
    operator: Operator,
    names: list[int],
    noise_level: PerImage | None = None,
) -> str:
    """The first image and iteration that is not finite, and the parameters, in one sentence.

    The reconstructor is as it was when the loss or its gradient was not finite; `names` are the
    indices of the images.
    """
    if not bool(y.isfinite().all()):
        return f"the measurement of image {names[_nonfinite(y)[0]]} is not finite"
    values = reconstructor.parameter_values()
    settings = ", ".join(f"{name} = {value_range(value)}" for name, value in values.items())
    solution = reconstructor.solve(y, operator, keep_iterates=True, noise_level=noise_level)
    for k, image in enumerate(solution.iterates):
        bad = _nonfinite(image)
        if bad:
            return f"image {names[bad[0]]} is not finite from iteration {k} on, with {settings}"
    return f"every iterate is finite, so the loss or the derivative is not, with {settings}"


def _nonfinite(t: Tensor) -> list[int]:
    return [i for i, one in enumerate(t.flatten(1)) if not bool(one.isfinite().all())]


Values = dict[str, Tensor | float]
"""By the name of the curve; empty where nothing converges."""


def forward_metrics(solutions: Sequence[Solution]) -> Values:
    """Residuals of equilibria, and iterations."""
    found = [(s.converged, s.residual, s.iterations) for s in solutions if s.converged is not None]
    penalties = [s.penalty for s in solutions if s.penalty is not None]
    values = _summary("train/", found)
    if found and penalties:
        values["train/penalty"] = torch.stack(penalties).detach().mean()
    return values


def backward_metrics(solutions: Sequence[Solution]) -> Values:
    """The same of the linear equation of the implicit gradient."""
    reports = [s.backward for s in solutions if s.backward is not None]
    return _summary(
        "train/backward_",
        [(r.converged, r.residual, r.iterations) for r in reports if r.converged is not None],
    )


def _summary(prefix: str, rows: Sequence[tuple[Tensor | None, ...]]) -> Values:
    """The share that converged, the largest residual and the mean number of iterations."""
    if not rows:
        return {}
    converged, residual, iterations = _columns(rows)
    return {
        f"{prefix}converged": converged.float().mean(),
        f"{prefix}residual": residual.max(),
        f"{prefix}iterations": iterations.float().mean(),
    }


def solve_metrics(solves: Sequence[SolveReport]) -> Values:
    """The linear solves of a step, those of the backward pass included."""
    if not solves:
        return {}
    rows = [(s.converged, s.residual, s.iterations) for s in solves]
    return {"train/solves": float(len(solves)), **_summary("train/solve_", rows)}
