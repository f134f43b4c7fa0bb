"""What can go wrong in a step of a training: in words, with figures and the way out."""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError, ConvergenceError, NonFiniteError, UnfoldError, listing
from unfold.models.model import Solution
from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor
from unfold.solvers.implicit import BackwardReport
from unfold.typing import Measurement


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


@torch.no_grad()
def where_not_finite(
    reconstructor: Reconstructor, y: Measurement, operator: Operator, names: list[int]
) -> str:
    """Which image, which iteration, and the values of the parameters, in one sentence.

    Args:
        reconstructor: as it was when the loss or its gradient was not finite.
        y: the measurement of the batch.
        operator: A.
        names: the index of every image of the batch.
    """
    if not bool(y.isfinite().all()):
        bad = [names[i] for i in _bad(y)]
        return f"the measurement of image {bad[0]} is not finite"
    values = reconstructor.parameter_values()
    settings = ", ".join(f"{name} = {_shown(value)}" for name, value in values.items())
    solution = reconstructor.solve(y, operator, keep_iterates=True)
    for k, image in enumerate(solution.iterates):
        bad = _bad(image)
        if bad:
            return f"image {names[bad[0]]} is not finite from iteration {k} on, with {settings}"
    return f"every iterate is finite, so the loss or the derivative is not, with {settings}"


def _bad(t: torch.Tensor) -> list[int]:
    return [i for i, one in enumerate(t.flatten(1)) if not bool(one.isfinite().all())]


def _shown(value: torch.Tensor) -> str:
    ends = sorted({f"{float(value.min()):.4g}", f"{float(value.max()):.4g}"}, key=float)
    return " to ".join(ends)


class DeadParameterWarning(UserWarning):
    """A learned parameter whose first gradient is exactly zero."""


def audit(reconstructor: nn.Module) -> None:
    """Refuse learned parameters without a gradient; warn of those whose gradient is zero.

    Raises:
        ConfigError: names the parameters that no gradient reaches.
    """
    missing, zero = [], []
    for name, parameter in reconstructor.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            missing.append(public_name(name))
        elif not bool(parameter.grad.any()):
            zero.append(public_name(name))
    if missing:
        raise ConfigError(
            f"trainable.learn: no gradient reaches {listing(missing)}. Leave them out, as in "
            "trainable.learn=[prior.*], or choose a model whose steps use them."
        )
    if zero:
        warnings.warn(
            f"The first gradient of {listing(zero)} is exactly zero: they do not change the loss "
            "so far. Leave them out of trainable.learn if that is meant.",
            DeadParameterWarning,
            stacklevel=2,
        )


def public_name(name: str) -> str:
    """`algo.raw_stepsize` as the config calls it, `algo.stepsize`."""
    head, _, tail = name.rpartition(".")
    return f"{head}.{tail.removeprefix('raw_')}"
