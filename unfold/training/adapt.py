"""Zero-shot adaptation: the weights of a run are fine-tuned on the measurements of one scan."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.errors import ConfigError, NonFiniteError
from unfold.evaluation.base import Case
from unfold.physics.wrapped import MaskedMeasurement, split
from unfold.pytree import batched_norm
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

HELD = 0.2
"""The share of the measured entries that is never trained on, and chooses when to stop."""

CHECKS = 20
"""How often the held-out entries are predicted."""


class Adapted(NamedTuple):
    """How an adaptation went.

    before: ‖Ax̂ − y‖ / ‖y‖ over the held-out entries, before the first step.
    best: the lowest, whose weights are kept.
    step: after so many steps.
    """

    before: float
    best: float
    step: int


class Parts(NamedTuple):
    """Measured entries of one case, as masks over y: to train on, and held out."""

    case: Case
    rest: Tensor
    held: Tensor


def adapt(
    net: Reconstructor,
    cases: Sequence[Case],
    steps: int,
    lr: float,
    seed: int,
    keep: float = 0.6,
    progress: Callable[[], None] = lambda: None,
) -> Adapted:
    """Fine-tune by predicting measured entries from the others, and keep the best weights.

    Of the entries that are not held out, each step reconstructs from a share and is scored on the
    rest, by the mean squared error; Adam takes the steps. The held-out entries, predicted from all
    others, choose the weights: those of the start are among them.

    Args:
        net: with the weights to start from; holds the best at the end.
        cases: of the scan, one measurement each.
        steps: of training, one case each.
        lr: of Adam.
        seed: of every mask.
        keep: the share that a step reconstructs from.
        progress: called after each step.

    Raises:
        ConfigError: there is nothing to learn.
        NonFiniteError: the loss is not finite; the net holds the best weights so far.

    Source: Yaman, Hosseini and Akçakaya, Zero-shot self-supervised learning for MRI reconstruction,
    ICLR 2022.
    """
    learned = [p for p in net.parameters() if p.requires_grad]
    if not learned:
        raise ConfigError("nothing is learned in this run: adapt needs a network or a scalar.")
    draws = [Draws(seed, (i,), "train").within("adapt") for i in range(len(cases))]
    parts = []
    for case, own in zip(cases, draws, strict=True):
        rest, held = split(case.operator, case.y, own.within("held").like(case.y), 1 - HELD)
        parts.append(Parts(case, rest, held))
    optimizer = torch.optim.Adam(learned, lr)
    before = best = held_out(net, parts)
    kept, at = deepcopy(net.state_dict()), 0
    for step in range(1, steps + 1):
        i = step % len(parts)
        (y, operator, level), rest, _ = parts[i]
        trained = MaskedMeasurement(operator, rest)
        used, left = split(trained, y, draws[i].within(f"step {step}").like(y), keep)
        net.train()
        image = net.solve(used * y, MaskedMeasurement(operator, used), noise_level=level).image
        error = left * (operator.A(image) - y).abs().square()
        loss = error.sum() / left.expand_as(error).sum().clamp(min=1)
        if not bool(loss.isfinite()):
            net.load_state_dict(kept)
            raise NonFiniteError(f"the loss of step {step} is {float(loss.detach())}; lower lr.")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        if step % max(1, steps // CHECKS) == 0 or step == steps:
            now = held_out(net, parts)
            if now < best:
                best, at, kept = now, step, deepcopy(net.state_dict())
        progress()
    net.load_state_dict(kept)
    return Adapted(before, best, at)


@torch.no_grad()
def held_out(net: Reconstructor, parts: Sequence[Parts]) -> float:
    """The mean of ‖Ax̂ − y‖ / ‖y‖ over the held-out entries, x̂ from all others."""
    net.eval()
    found = []
    for (y, operator, level), rest, held in parts:
        x = net.solve(rest * y, MaskedMeasurement(operator, rest), noise_level=level).image
        found.append(float(batched_norm(held * (operator.A(x) - y)) / batched_norm(held * y)))
    return sum(found) / len(found)
