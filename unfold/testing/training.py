"""Properties of initial images and of losses: ST1, ST2, LO1 to LO3."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from unfold.fidelities.fidelity import Fidelity, data_term
from unfold.fidelities.l2 import L2
from unfold.initialization import FittedLinear, Start
from unfold.models.model import Solution
from unfold.models.unfolded import Unfolded
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.testing.dense import DOUBLE, gap
from unfold.testing.report import Check, Report, holds, report
from unfold.training.losses import Loss, Trial
from unfold.typing import Image, Measurement, Shape

COUNT = 3
"""Images of a batch."""


def check_start(
    start: Start, physics: Physics, fidelity: Fidelity | None = None, shape: Shape = (1, 16, 16)
) -> Report:
    """The initial image has the shape of an image, is finite, and is independent of the batch.

    The forward model is one that the start is made for; the fidelity is least squares if None.
    """
    subject = f"{type(start).__name__} with {type(physics).__name__}"
    y, operator, *_ = _measured(physics, shape)
    if isinstance(start, FittedLinear):  # before it is fitted, in double precision
        start = start.of(operator, same=physics.is_deterministic)
        start = replace(start, matrix=cast(Tensor, start.matrix).double())
    return report(subject, _start(start, fidelity or L2(), y, operator))


def _start(start: Start, fidelity: Fidelity, y: Measurement, operator: Operator) -> Iterator[Check]:
    batch = start.image(data_term(fidelity, operator, y))
    proper = batch.shape == (COUNT, *operator.image_shape) and bool(batch.isfinite().all())
    yield holds("ST1", "an image of the operator's shape, finite", proper)
    for i in range(COUNT):
        one = operator.take(torch.tensor([i]), COUNT)
        single = start.image(data_term(fidelity, one, y[i : i + 1]))
        yield Check("ST2", "independent of the batch", gap(single, batch[i : i + 1]), 1e-9)


def check_loss(
    loss: Loss, physics: Physics, shape: Shape = (1, 16, 16), iterations: int = 1
) -> Report:
    """The loss is finite, differentiable in the reconstruction, and a mean over images.

    Args:
        loss: what training minimises.
        physics: a forward model that it is made for.
        shape: (C, H, W).
        iterations: whose images the loss may read; all are the same here.
    """
    loss.check(physics, Unfolded(iterations))
    subject = f"{type(loss).__name__} with {type(physics).__name__}"
    return report(subject, _loss(loss, physics, iterations, *_measured(physics, shape)))


def _loss(
    loss: Loss,
    physics: Physics,
    iterations: int,
    y: Measurement,
    operator: Operator,
    draws: Draws,
    truth: Image,
) -> Iterator[Check]:

    def value(scale: Tensor, positions: list[int]) -> Tensor:
        """The loss of the reconstruction scale · A*y of some images."""

        def solve(y: Measurement, A: Operator) -> Solution:
            image = scale * A.back_project(y)
            count = torch.ones(len(image))
            kept = (image,) * (iterations + 1)
            return Solution(image, None, torch.zeros(len(image)), count, iterates=kept)

        index = torch.tensor(positions)
        chosen = operator.take(index, COUNT)
        trial = Trial(y[index], chosen, truth[index], physics, draws.take(positions), solve)
        return loss.value(loss.reconstruct(trial), trial)

    at = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
    everything = list(range(COUNT))
    batch = value(at, everything)
    yield holds("LO1", "a finite number", batch.shape == () and bool(batch.isfinite()))
    (slope,) = torch.autograd.grad(batch, at)
    h = 1e-5
    with torch.no_grad():
        difference = (value(at + h, everything) - value(at - h, everything)) / (2 * h)
        singles = torch.stack([value(at, [i]) for i in everything])
    yield Check("LO2", "its gradient is that of differences", gap(slope, difference), 1e-6)
    yield Check("LO3", "the mean over images", gap(batch, singles.mean()), 1e-9)


def _measured(physics: Physics, shape: Shape) -> tuple[Measurement, Operator, Draws, Image]:
    draws = Draws(seed=3, images=range(COUNT), dtype=DOUBLE)
    x = draws.uniform("images", shape)
    y, operator = physics.measure(x, draws)
    return y, operator, draws, x
