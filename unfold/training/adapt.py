"""Fine-tuning on one file alone, without a true image."""

from collections.abc import Callable, Sequence

from torch import Tensor

from unfold.evaluation.base import Case, hidden_error
from unfold.evaluation.calibration import fit_best
from unfold.physics.wrapped import MaskedMeasurement, split
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

HELD = 0.2
"""The share of the measured entries that is never trained on, and chooses when to stop."""


def adapt(
    net: Reconstructor,
    cases: Sequence[Case],
    steps: int,
    lr: float,
    seed: int,
    keep: float = 0.6,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Fine-tune by predicting measured entries from the others, and keep the best weights.

    Each step reconstructs one case from a share `keep` of what is not held out; its loss is the
    mean squared error on the rest. The held-out entries, predicted from all others, choose the
    weights that the net holds at the end; those of the start are among them. Returns the errors
    before and at the best step.

    Source: Yaman, Hosseini and Akçakaya, Zero-shot self-supervised learning for MRI reconstruction,
    ICLR 2022.
    """
    draws = [Draws(seed, (i,)).within("adapt").like(one.y) for i, one in enumerate(cases)]
    parts = [
        split(case.operator, case.y, own.within("held"), 1 - HELD)
        for case, own in zip(cases, draws, strict=True)
    ]

    def held_out() -> float:
        net.eval()
        pairs = zip(cases, parts, strict=True)
        return sum(float(hidden_error(net, case, *both)) for case, both in pairs) / len(cases)

    def loss(step: int) -> Tensor:
        i = step % len(cases)
        y, operator, level = cases[i]
        known = MaskedMeasurement(operator, parts[i][0])
        used, left = split(known, y, draws[i].within(f"step {step}"), keep)
        net.train()
        image = net.solve(used * y, MaskedMeasurement(operator, used), noise_level=level).image
        return (left * (operator.A(image) - y)).abs().square().sum() / left.sum().clamp(min=1)

    return fit_best(net, "held out", loss, held_out, steps, lr, progress)
