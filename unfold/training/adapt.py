"""Fine-tuning on one scan alone: the weights of a run, or the parameters of its operator."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError, NonFiniteError
from unfold.evaluation.base import Case, hidden_error, stein
from unfold.evaluation.scans import Taken
from unfold.physics.wrapped import MaskedMeasurement, split
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

HELD = 0.2
"""The share of the measured entries that is never trained on, and chooses when to stop."""

CHECKS = 20
"""How often a fit is scored."""


PULL = 20.0
"""What a relative squared change costs, in the fitted noise of as many parameters."""


class Effort(NamedTuple):
    """How long a fit lasts.

    steps: of Adam.
    lr: its learning rate.
    seed: of what is drawn.
    progress: called after every step.
    """

    steps: int
    lr: float
    seed: int
    progress: Callable[[], object] = lambda: None


def fit(
    module: nn.Module, loss: Callable[[int], Tensor], score: Callable[[], float], effort: Effort
) -> dict[str, float]:
    """Minimise a loss, which is given the step from 1 on, and keep what has the best score.

    The start counts too. Returns the scores before and at the best step.

    Raises:
        ConfigError: there is nothing to learn.
        NonFiniteError: the loss is not finite.
    """
    learned = [p for p in module.parameters() if p.requires_grad]
    if not learned:
        raise ConfigError("nothing is learned in this run: adapt needs a network or a scalar.")
    optimizer = torch.optim.Adam(learned, effort.lr)
    before = best = score()
    kept, at = deepcopy(module.state_dict()), 0
    for step in range(1, effort.steps + 1):
        now = loss(step)
        if not bool(now.isfinite()):
            raise NonFiniteError(f"the loss of step {step} is {float(now.detach())}; lower lr.")
        optimizer.zero_grad()
        now.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        due = step % max(1, effort.steps // CHECKS) == 0 or step == effort.steps
        if due and (found := score()) < best:
            best, at, kept = found, step, deepcopy(module.state_dict())
        effort.progress()
    module.load_state_dict(kept)
    return {"score before": before, "score": best, "best step": float(at)}


def adapt(
    net: Reconstructor, cases: Sequence[Case], effort: Effort, keep: float = 0.6
) -> dict[str, float]:
    """Fine-tune by predicting measured entries from the others, and keep the best weights.

    Each step reconstructs one case from a share `keep` of what is not held out; its loss is the
    mean squared error on the rest. The held-out entries, predicted from all others, choose the
    weights that the net holds at the end.

    Source: Yaman, Hosseini and Akçakaya, Zero-shot self-supervised learning for MRI reconstruction,
    ICLR 2022.
    """
    numbered = enumerate(cases)
    draws = [Draws(effort.seed, (i,)).within("adapt").like(case.y) for i, case in numbered]
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

    found = fit(net, loss, held_out, effort)
    return {name.replace("score", "held out"): value for name, value in found.items()}


def calibrate(
    net: Reconstructor, taken: Sequence[Taken], values: nn.Module, effort: Effort
) -> dict[str, float]:
    """Fit parameters of operators to what they measured, with the weights of the net fixed.

    The loss is Stein's estimate of ‖A_θ x̂_θ(y) − v‖² / ‖y‖², v the measurement without its noise,
    by another probe in each step. The residual ‖A_θ x̂_θ − y‖² alone is least where A_θ is the
    identity and x̂ fits the noise; the estimate counts the noise that is fitted, and is unbiased
    whatever A_θ is. One probe for all scores chooses the values that are kept.

    Args:
        net: as it was trained.
        taken: measurements of a physics whose `learned` parameters are `values`.
        values: of these parameters.
        effort: how long.

    Raises:
        ConfigError: the noise level is not known.

    Source: Stein, Estimation of the mean of a multivariate normal distribution, Annals of
    Statistics 9 (1981), theorem 1; Ramani, Blu and Unser, Monte-Carlo SURE, IEEE Trans. Image
    Processing 17 (2008), for the probe.
    """
    net.eval().requires_grad_(False)

    def risk(i: int, probe: str) -> Tensor:
        case = taken[i].case()
        if case.noise_level is None or not case.operator.linear:
            raise ConfigError(
                "calibrate needs a linear operator and the noise level of the measurement: give "
                "physics/noise=measured physics.noise.sigma=SIGMA."
            )
        draws = Draws(effort.seed, (i,)).within("calibrate").within(probe)
        b = taken[i].physics.probe(case.y, case.operator, draws)
        image = net.solve(case.y, case.operator, noise_level=case.noise_level).image
        noise = case.y[0].numel() * case.noise_level.square()
        return (stein(net, case, image, b) / noise).sum()

    start = {name: values.value(name).detach() for name in values.plans}

    def pull() -> Tensor:
        """(p/n) ‖θ − θ₀‖² / ‖θ₀‖² of a parameter of p > 1 entries, times 20; n entries of y."""
        found = torch.zeros(())
        for name, before in start.items():
            far = (values.value(name) - before).abs().square().sum() / before.abs().square().sum()
            share = before.numel() / sum(one.examples.measurement.numel() for one in taken)
            found = found + (PULL * share * far if before.numel() > 1 else 0)
        return found

    @torch.no_grad()
    def score() -> float:
        return sum(float(risk(i, "score")) for i in range(len(taken))) / len(taken) + float(pull())

    def loss(step: int) -> Tensor:
        return risk(step % len(taken), f"step {step}") + pull()

    found = fit(values, loss, score, effort)
    return {name.replace("score", "risk"): value for name, value in found.items()}
