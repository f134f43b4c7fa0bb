"""Properties of random sampling, noise and detectors."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from unfold.physics.base import Physics
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.random import Draws
from unfold.testing.dense import DOUBLE, gap
from unfold.testing.report import Check, Finding, NotJudged, holds
from unfold.typing import Shape

MEASURED = 100_000
"""Draws of the noise whose moments are measured."""

STEPS = (1e-2, 1e-3, 1e-4, 1e-5)
"""Lengths of the steps whose remainders show the order of a derivative."""


def draws_per_image(physics: Physics, shape: Shape) -> Iterator[Check]:
    """Samples depend only on the image: not on its batch, nor on the order."""
    draws = Draws(seed=5, images=range(4), dtype=DOUBLE)
    x = draws.uniform("images", shape)
    y, _ = physics.measure(x, draws)
    repeated, _ = physics.measure(x, draws)
    yield holds("PH11", "the same draws measure the same", torch.equal(repeated, y))
    order = [2, 0, 3]
    some, _ = physics.measure(x[order], draws.take(order))
    yield Check("PH12", "draws are independent of the batch", gap(some, y[order]), 1e-12)


def noise(physics: Physics, shape: Shape) -> Iterator[Finding]:
    """Without noise y = A(x) exactly; the model's noise and Gaussian noise have the stated moments.

    Mean and variance of the residual of y, normalized by the stated standard deviation, are
    within 5 standard errors of 0 and 1.
    """
    count = min(100, math.ceil(MEASURED / math.prod(shape)))
    draws = Draws(seed=6, images=range(count), dtype=DOUBLE)
    x = draws.uniform("images", shape)
    quiet = physics.with_noise(NoNoise()).measure(x, draws)
    clean = physics.observe(quiet.operator.A(x))
    yield holds("PH12", "without noise y = A(x)", torch.equal(quiet.y, clean))
    yield from _moments("the noise", physics, x, draws)
    yield from _moments("Gaussian noise", physics.with_noise(Gaussian(0.1)), x, draws)


def _moments(name: str, physics: Physics, x: Tensor, draws: Draws) -> Iterator[Finding]:
    found: list[Tensor] = []
    exact = True
    while sum(part.numel() for part in found) < MEASURED:
        draws = replace(draws, seed=draws.seed + 1)
        y, operator = physics.measure(x, draws)
        clean = physics.observe(operator.A(x))
        moments = physics.moments(clean, operator, draws)
        if moments is None:
            reason = f"{type(physics.noise).__name__} defines no mean and variance"
            yield NotJudged("PH12", f"mean and variance of {name}", reason)
            return
        mean, variance = (m.expand(y.shape) for m in moments)
        certain = variance <= 0
        exact = exact and torch.equal(y[certain], mean[certain])
        if bool(certain.all()):
            break
        found.append(((y - mean) / variance.clamp(min=1e-300).sqrt())[~certain])
    yield holds("PH12", f"{name} is zero where its variance is zero", exact)
    if not found:
        return
    sample = torch.cat(found)
    power = sample.abs().square()
    n = sample.numel()
    yield Check("PH12", f"mean of {name}, standard errors", _errors(sample.mean(), 1.0, n), 5.0)
    spread = float(power.std())
    error = _errors(power.mean() - 1, spread, n)
    yield Check("PH12", f"variance of {name}, standard errors", error, 5.0)


def _errors(mean: Tensor, deviation: float, n: int) -> float:
    return float(mean.abs()) * math.sqrt(n) / deviation


def observation(physics: Physics, shape: Shape) -> Iterator[Check]:
    """A detector that measures less than Ax: its derivative and its invariances.

    The remainder F(x + hv) − F(x) − h JF(x)v of F = observe ∘ A falls as h²: its slope is at
    least 1.9 between some of the steps, whose longest may leave the region where F is smooth and
    whose shortest end in rounding. A detector of intensities is invariant to a phase.
    """
    if type(physics).observe is Physics.observe:
        return
    draws = Draws(seed=7, images=range(2), dtype=DOUBLE)
    operator = physics.sample(draws, shape)
    x, v = draws.uniform("images", shape), draws.normal("direction", shape)

    def detected(image: Tensor) -> Tensor:
        return physics.observe(operator.A(image))

    y, slope = torch.autograd.functional.jvp(detected, x, v)  # type: ignore[no-untyped-call]
    left = [float((detected(x + h * v) - y - h * slope).norm()) for h in STEPS]
    slopes = [math.log10(max(a, 1e-300) / max(b, 1e-300)) for a, b in pairwise(left)]
    yield Check("PH14", "remainder of Taylor, 2 − slope", 2 - max(slopes), 0.1)
    values = operator.A(x)
    turned = values * torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    error = gap(physics.observe(turned), physics.observe(values))
    yield Check("PH14", "invariant to a phase", error, 1e-10)
