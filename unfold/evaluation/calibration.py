"""Fits to one measurement: of the parameters of its operator, with the weights of a run fixed."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError, NonFiniteError
from unfold.evaluation.base import Case, stein
from unfold.parameters.group import ParameterGroup
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

LAST = 0.05
"""Of the learning rate, at the last step of its cosine."""

CHECKS = 20
"""How often a fit is scored."""


def calibrate(
    net: Reconstructor,
    found: Sequence[Callable[[], Case]],
    values: ParameterGroup,
    steps: int,
    lr: float,
    seed: int,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Fit the parameters θ of operators to what they measured, with the weights of the net fixed.

    The loss is Stein's estimate of ‖A_θ x̂_θ(y) − v‖² / nσ², v the n entries of y without noise,
    with another probe in each step, and one for the scores that choose what is kept. The residual
    ‖A_θ x̂_θ − y‖² is least where A_θ is the identity and x̂ fits the noise; this counts that, and
    has no bias whatever A_θ is. For p > 1 numbers (p/n) ‖θ − θ₀‖² / ‖θ₀‖² is added: one
    measurement determines some of them badly. `found` gives cases for the present `values`, θ.

    Source: Stein, Estimation of the mean of a multivariate normal distribution, Annals of
    Statistics 9 (1981), theorem 1; Ramani, Blu and Unser, Monte-Carlo SURE, IEEE Trans. Image
    Processing 17 (2008), for the probe.
    """
    learned = [p for p in net.parameters() if p.requires_grad]
    net.eval().requires_grad_(False)
    own = [partial(values.value, name) for name in values.plans]
    start = [value().detach() for value in own]

    def risk(i: int, probe: str) -> Tensor:
        case = found[i]()
        if case.noise_level is None or not bool(case.noise_level.all()):
            raise ConfigError(
                f"calibrate needs a positive noise level, got {case.noise_level}; state it: "
                "physics/noise=measured physics.noise.sigma=SIGMA."
            )
        draws = replace(Draws(seed, (i,)).like(case.y), dtype=case.y.dtype)
        b = draws.within("calibrate").normal(probe, case.y.shape[1:])
        image = net.solve(case.y, case.operator, noise_level=case.noise_level).image
        total = stein(net, case, image, b).sum() / case.noise_level.square().sum()
        for value, before in zip(own, start, strict=True):
            far = (value() - before).abs().square().sum()
            if before.numel() > 1:
                total = total + before.numel() * far / before.abs().square().sum()
        return total / case.y.numel()

    @torch.no_grad()
    def score() -> float:
        return sum(float(risk(i, "score")) for i in range(len(found))) / len(found)

    def loss(step: int) -> Tensor:
        return risk(step % len(found), f"step {step}")

    try:
        return fit_best(values, "risk", loss, score, steps, lr, progress)
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def fit_best(
    module: nn.Module,
    name: str,
    loss: Callable[[int], Tensor],
    score: Callable[[], float],
    steps: int,
    lr: float,
    progress: Callable[[], object],
) -> dict[str, float]:
    """Minimise the loss of each step, from 1 on, and keep what has the best score.

    Raises:
        ConfigError: there is nothing to learn.
        NonFiniteError: the loss is not finite.
    """
    learned = [p for p in module.parameters() if p.requires_grad]
    if not learned:
        raise ConfigError("nothing is learned in this run: adapt needs a network or a scalar.")
    optimizer = torch.optim.Adam(learned, lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, LAST * lr)
    before = best = score()
    kept, at = deepcopy(module.state_dict()), 0
    for step in range(1, steps + 1):
        now = loss(step)
        if not bool(now.isfinite()):
            raise NonFiniteError(f"the loss of step {step} is {float(now.detach())}; lower lr.")
        optimizer.zero_grad()
        now.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
        due = step % max(1, steps // CHECKS) == 0 or step == steps
        if due and (found := score()) < best:
            best, at, kept = found, step, deepcopy(module.state_dict())
        progress()
    module.load_state_dict(kept)
    return {f"{name} before": before, name: best, "best step": float(at)}
