"""The laws of a law of operators: what it draws, and that the draws of an image are its own."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.law import Physics
from unfold.physics.noise import Gaussian, NoNoise
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.solvers.report import ConvergenceWarning
from unfold.testing import operators as laws
from unfold.testing.dense import DOUBLE, gap
from unfold.testing.report import Check, Finding, NotJudged, Report, holds, report

SHAPES = ((1, 1, 1), (1, 1, 7), (1, 8, 8), (1, 16, 16), (3, 17, 16), (2, 31, 37), (1, 64, 48))
"""Images of which each breaks something: one pixel, one row, odd sides, several channels."""

DENSE = 300
"""The most pixels at which an operator is compared with its matrix."""

MEASURED = 100_000
"""Draws of the noise whose moments are measured."""

INVERSE: tuple[tuple[str, str, Callable[..., Iterator[Check]]], ...] = (
    ("PH9", "batch invariance of pseudo_inverse", laws.inverse_invariance),
    ("PH7", "A⁺ obeys Penrose's equations", laws.penrose),
    ("PH7", "A⁺ = dense pinv", laws.pseudo_inverse),
)
"""The laws of the pseudo-inverse, with their rows in the kit."""


def check_operator(
    operator: Operator, *, dtype: torch.dtype = DOUBLE, gammas: Sequence[float] = (0.3, 3.0)
) -> Iterator[Finding]:
    """Every law of one operator; those of matrices where it is small enough.

    Those of the pseudo-inverse are not judged where it warns: it is iterative where there is no
    closed form, and says so of operators that are too ill-conditioned for its tolerance.

    Args:
        operator: its tensors in the precision of `dtype`.
        dtype: of the images.
        gammas: γ of the normal equations.
    """
    single = torch.finfo(dtype).eps > 1e-10
    yield from laws.adjoint(operator, dtype=dtype, tol=1e-5 if single else 1e-10)
    yield from laws.linear(operator, dtype=dtype, tol=1e-5 if single else 1e-12)
    if single:
        return
    yield from laws.autograd(operator, dtype=dtype)
    yield from laws.normal(operator, dtype=dtype)
    yield from laws.kind(operator, dtype=dtype)
    yield from laws.copies(operator, dtype=dtype)
    yield from laws.batch_invariance(operator, dtype=dtype)
    yield from laws.solve_weights(operator, dtype=dtype)
    if max(map(math.prod, (operator.image_shape, operator.measurement_shape))) > DENSE:
        yield from _inverse(operator, dtype, INVERSE[:1])
        return
    yield from laws.adjoint_entrywise(operator, dtype=dtype)
    yield from laws.norm(operator, dtype=dtype)
    for gamma in gammas:
        yield from laws.solve(operator, gamma=gamma, dtype=dtype)
    yield from laws.solve_gradients(operator, gamma=1.7, dtype=dtype)
    yield from _inverse(operator, dtype, INVERSE)


def _inverse(
    operator: Operator,
    dtype: torch.dtype,
    kit: Sequence[tuple[str, str, Callable[..., Iterator[Check]]]],
) -> list[Finding]:
    """The laws of the pseudo-inverse; not judged from where it warns that it did not converge."""
    found: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for i, (_, _, law) in enumerate(kit):
            try:
                found += list(law(operator, dtype=dtype))
            except ConvergenceWarning as warning:
                reason = f"it did not converge: {str(warning).partition('. ')[0]}"
                return found + [NotJudged(id, words, reason) for id, words, _ in kit[i:]]
    return found


def check_physics(physics: Physics, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> Report:
    """The laws PH1 to PH12 and PH15 of a law of linear operators, and of its noise.

    A shape that the law refuses with a `ShapeError` or a `ConfigError` is left out; that any other
    error comes is itself a broken law.

    Args:
        physics: the law.
        shapes: (C, H, W) of the images to try.
    """
    return report(type(physics).__name__, _laws(physics, shapes))


def _laws(physics: Physics, shapes: Sequence[tuple[int, int, int]]) -> Iterator[Finding]:
    legal = 0
    for shape in shapes:
        for count in (1, 3):
            draws = Draws(seed=count, images=range(count), dtype=DOUBLE)
            try:
                operator = physics.sample(draws, shape)
            except (ShapeError, ConfigError):
                continue
            legal += 1
            yield holds("PH15", "the operator has the shape asked for", _fits(operator, shape))
            yield from check_operator(operator)
            yield from _refuses(operator)
            single = physics.sample(replace(draws, dtype=torch.float32), shape)
            yield from check_operator(single, dtype=torch.float32)
            yield from own_draws(physics, shape)
    yield holds("PH15", "some shape is legal", legal > 0)
    yield from noise(physics)


def _fits(operator: Operator, shape: tuple[int, int, int]) -> bool:
    return tuple(operator.image_shape) == shape


def _refuses(operator: Operator) -> Iterator[Check]:
    """Images and measurements of another shape are refused by name."""
    for name, call, shape in (
        ("A", operator.A, operator.image_shape),
        ("A_adjoint", operator.A_adjoint, operator.measurement_shape),
    ):
        wrong = torch.zeros(operator.batch, *shape[:-1], shape[-1] + 1, dtype=DOUBLE)
        yield holds("PH15", f"{name} refuses another shape", _is_refused(call, wrong))


def _is_refused(call: Callable[[Tensor], Tensor], wrong: Tensor) -> bool:
    try:
        call(wrong)
    except ShapeError:
        return True
    return False


def own_draws(physics: Physics, shape: tuple[int, int, int]) -> Iterator[Check]:
    """What an image gets depends on the image alone: not on its batch, nor on the order."""
    draws = Draws(seed=5, images=range(4), dtype=DOUBLE)
    x = draws.uniform("images", shape)
    y, _ = physics.measure(x, draws)
    again, _ = physics.measure(x, draws)
    yield holds("PH11", "the same draws measure the same", torch.equal(again, y))
    order = [2, 0, 3]
    some, _ = physics.measure(x[order], draws.take(order))
    yield Check("PH12", "an image's draws are its own", gap(some, y[order]), 1e-12)


def noise(physics: Physics) -> Iterator[Check]:
    """σ = 0 is exact, and Gaussian noise has its mean and variance within 5 standard errors."""
    draws = Draws(seed=6, images=range(2), dtype=DOUBLE)
    shape = (1, 64, 48)
    try:
        x = draws.uniform("images", shape)
        quiet = physics.with_noise(NoNoise()).measure(x, draws)
    except (ShapeError, ConfigError):
        return
    clean = physics.observe(quiet.operator.A(x))
    yield holds("PH12", "without noise y = A(x)", torch.equal(quiet.y, clean))
    sigma = 0.1
    found = []
    for seed in range(math.ceil(MEASURED / clean.numel())):
        y, operator = physics.with_noise(Gaussian(sigma)).measure(x, replace(draws, seed=seed))
        found.append((y - physics.observe(operator.A(x))).flatten())
    sample = torch.cat(found) / sigma
    n = sample.numel()
    parts = 2 if sample.is_complex() else 1
    mean, variance = sample.mean().abs(), sample.abs().square().mean()
    yield Check("PH12", "mean of the noise, standard errors", float(mean) * math.sqrt(n), 5.0)
    error = abs(float(variance) - 1) * math.sqrt(n * parts / 2)
    yield Check("PH12", "variance of the noise, standard errors", error, 5.0)
