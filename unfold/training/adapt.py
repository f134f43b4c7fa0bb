"""Zero-shot adaptation: the weights of a run are fine-tuned on the measurements of one scan."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch

from unfold.errors import ConfigError, NonFiniteError
from unfold.evaluation.base import Case, hidden_error
from unfold.physics.wrapped import MaskedMeasurement, split
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

HELD = 0.2
"""The share of the measured entries that is never trained on, and chooses when to stop."""

CHECKS = 20
"""How often the held-out entries are predicted."""


def adapt(
    net: Reconstructor,
    cases: Sequence[Case],
    steps: int,
    lr: float,
    seed: int,
    keep: float = 0.6,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Fine-tune by predicting measured entries from the others, and keep the best weights.

    Each step reconstructs one case from a share `keep` of what is not held out; its loss is the
    mean squared error on the rest. The held-out entries, predicted from all others, choose the
    weights that the net holds at the end; those of the start are among them. Returns the errors
    before and at the best step.

    Raises:
        ConfigError: there is nothing to learn.
        NonFiniteError: the loss is not finite.

    Source: Yaman, Hosseini and Akçakaya, Zero-shot self-supervised learning for MRI reconstruction,
    ICLR 2022.
    """
    learned = [p for p in net.parameters() if p.requires_grad]
    if not learned:
        raise ConfigError("nothing is learned in this run: adapt needs a network or a scalar.")
    draws = [Draws(seed, (i,)).within("adapt").like(case.y) for i, case in enumerate(cases)]
    parts = [
        split(case.operator, case.y, own.within("held"), 1 - HELD)
        for case, own in zip(cases, draws, strict=True)
    ]

    def held_out() -> float:
        net.eval()
        pairs = zip(cases, parts, strict=True)
        return sum(float(hidden_error(net, case, *both)) for case, both in pairs) / len(cases)

    optimizer = torch.optim.Adam(learned, lr)
    before = best = held_out()
    kept, at = deepcopy(net.state_dict()), 0
    for step in range(1, steps + 1):
        i = step % len(cases)
        y, operator, level = cases[i]
        known = MaskedMeasurement(operator, parts[i][0])
        used, left = split(known, y, draws[i].within(f"step {step}"), keep)
        net.train()
        image = net.solve(used * y, MaskedMeasurement(operator, used), noise_level=level).image
        loss = (left * (operator.A(image) - y)).abs().square().sum() / left.sum().clamp(min=1)
        if not bool(loss.isfinite()):
            raise NonFiniteError(f"the loss of step {step} is {float(loss.detach())}; lower lr.")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        if (step % max(1, steps // CHECKS) == 0 or step == steps) and (now := held_out()) < best:
            best, at, kept = now, step, deepcopy(net.state_dict())
        progress()
    net.load_state_dict(kept)
    return {"held out before": before, "held out": best, "best step": float(at)}
