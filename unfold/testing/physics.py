"""Properties every `Physics` must satisfy, of its noise, and of the operators that it samples."""

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.physics.base import Physics
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.solvers.result import ConvergenceWarning
from unfold.testing import operators, solves
from unfold.testing.dense import DOUBLE, gap
from unfold.testing.derivatives import check_nonlinear
from unfold.testing.report import Check, Finding, NotJudged, Report, holds, report
from unfold.typing import Shape

SHAPES = ((1, 1, 1), (1, 1, 7), (1, 8, 8), (1, 16, 16), (3, 17, 16), (2, 31, 37), (1, 64, 48))
"""Edge cases: one pixel, one row, odd sides, several channels."""

MORE_SHAPES = (
    *((3, 8, 8), (1, 9, 9), (3, 4, 6), (4, 8, 8), (1, 12, 16), (3, 16, 24), (1, 33, 33)),
    *((1, 32, 32), (3, 32, 32), (1, 66, 33), (2, 32, 32), (3, 12, 10), (1, 64, 64)),
    *((1, 24, 24), (1, 24, 36)),
)
"""For physics that refuse most of the others: blocks, powers of 2, colors, coarse grids."""

ENOUGH = 6
"""Legal shapes to test with; where there are fewer, all shapes are tried."""

DENSE = 300
"""The most pixels at which an operator is compared with its matrix."""

ROWS: tuple[tuple[tuple[str, ...], Callable[..., Iterator[Finding]]], ...] = (
    (("PH1",), operators.adjoint),
    (("PH3", "PH4"), operators.linear),
    (("PH5",), operators.autograd),
    (("PH5",), operators.normal),
    (("PH13",), operators.parameters),
    (("PH10", "PH11"), operators.kind),
    (("PH11",), operators.copies),
    (("PH9",), operators.batch_invariance),
    (("PH8",), solves.solve_weights),
)
"""Properties of an operator of any size, with their rows in the kit."""

INVERSE: tuple[tuple[str, str, Callable[..., Iterator[Check]]], ...] = (
    ("PH9", "batch invariance of pseudo_inverse", solves.inverse_invariance),
    ("PH7", "A⁺ obeys Penrose's equations", solves.penrose),
    ("PH7", "A⁺ = dense pinv", solves.pseudo_inverse),
)
"""Properties of the pseudo-inverse, with their rows in the kit."""


def check_operator(
    operator: Operator, *, dtype: torch.dtype = DOUBLE, only: Collection[str] = ()
) -> Iterator[Finding]:
    """Check every property of one operator; with dense matrices where it is small enough.

    The pseudo-inverse is not judged where it warns: it is iterative where there is no closed form,
    and warns for operators that are too ill-conditioned for its tolerance.

    Args:
        operator: its tensors in the precision of `dtype`.
        dtype: of the images.
        only: requested rows, all if empty; others are not measured.
    """
    if not operator.linear:
        yield from check_nonlinear(operator, dtype=dtype)
        return
    large = max(map(math.prod, (operator.image_shape, operator.measurement_shape))) > DENSE
    rows = [*ROWS, (("PH6",), operators.large_norm if large else operators.norm)]
    if not large:
        rows += [(("PH2",), operators.adjoint_entrywise)]
        rows += [(("PH8",), partial(solves.solve, gamma=gamma)) for gamma in (0.3, 3.0)]
        rows += [(("PH8",), partial(solves.solve_gradients, gamma=1.7))]
    for ids, check in rows:
        if asked(only, ids):
            yield from check(operator, dtype=dtype)
    kit = [row for row in (INVERSE[:1] if large else INVERSE) if asked(only, row[:1])]
    yield from _inverse(operator, dtype, kit)


def asked(only: Collection[str], ids: Iterable[str]) -> bool:
    """Whether one of the rows is requested: all are where none is named."""
    return not only or any(id in only for id in ids)


def _inverse(
    operator: Operator,
    dtype: torch.dtype,
    kit: Sequence[tuple[str, str, Callable[..., Iterator[Check]]]],
) -> list[Finding]:
    """Properties of the pseudo-inverse; not judged once it warns that it did not converge."""
    found: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for i, (_, _, check) in enumerate(kit):
            try:
                found += list(check(operator, dtype=dtype))
            except ConvergenceWarning as warning:
                reason = f"it did not converge: {str(warning).partition('. ')[0]}"
                return found + [NotJudged(id, name, reason, True) for id, name, _ in kit[i:]]
    return found


def check_physics(
    physics: Physics, shapes: Sequence[Shape] = SHAPES, only: Collection[str] = ()
) -> Report:
    """Check the properties PH1 to PH15 of a forward model and of its noise.

    Shapes that are refused with a `ShapeError` or a `ConfigError` are skipped; any other exception
    is a violation. Where few of the usual shapes are legal, more are tried.

    Args:
        physics: the forward model.
        shapes: (C, H, W) of the images to try.
        only: requested rows, all if empty.
    """
    return report(type(physics).__name__, _properties(physics, shapes, only)).only(only)


def _properties(
    physics: Physics, shapes: Sequence[Shape], only: Collection[str]
) -> Iterator[Finding]:
    legal: list[Shape] = []
    for shape in (*shapes, *(MORE_SHAPES if shapes is SHAPES else ())):
        if shape not in shapes and len(legal) >= ENOUGH:
            break
        if _sampled(physics, shape, 1, DOUBLE) is None:
            continue
        legal.append(shape)
        for count in (1, 3):
            yield from _properties_at(physics, shape, count, only)
        if asked(only, ("PH11", "PH12")):
            yield from draws_per_image(physics, shape)
    yield holds("PH15", "some shape is legal", bool(legal))
    if legal:
        # The largest, so that few draws measure the noise.
        largest = max(legal, key=math.prod)
        if asked(only, ("PH12",)):
            yield from noise(physics, largest)
        if asked(only, ("PH14",)):
            yield from observation(physics, largest)


def _sampled(physics: Physics, shape: Shape, count: int, dtype: torch.dtype) -> Operator | None:
    """The operators of some images; None where the shape is refused."""
    try:
        return physics.sample(Draws(seed=count, images=range(count), dtype=dtype), shape)
    except (ShapeError, ConfigError):
        return None


def _properties_at(
    physics: Physics, shape: Shape, count: int, only: Collection[str]
) -> Iterator[Finding]:
    for dtype in (DOUBLE, torch.float32):
        operator = _sampled(physics, shape, count, dtype)
        if operator is None:
            yield holds("PH15", f"{shape} is legal for {count} images of {dtype}", False)
            continue
        kind = dtype.to_complex() if operator.complex_images else dtype
        yield from check_operator(operator, dtype=kind, only=only)
        if dtype == DOUBLE:
            yield holds(
                "PH15", "the operator has the shape asked for", tuple(operator.image_shape) == shape
            )
            yield from _refuses(operator)
            if not operator.complex_images and not operator.complex_measurements:
                yield from _complex(operator)


def _complex(operator: Operator) -> Iterator[Check]:
    """A real operator acts on complex images as on their two parts, or refuses them."""
    dtype = torch.complex128
    x = torch.zeros(operator.batch, *operator.image_shape, dtype=dtype)
    if not operator.linear:
        yield holds("PH15", "A refuses complex images", _is_refused(operator.A, x))
        return
    if _is_refused(operator.A, x):
        return
    yield from operators.adjoint(operator, dtype=dtype)
    yield from operators.linear(operator, dtype=dtype)
    yield from operators.normal(operator, dtype=dtype)


def _refuses(operator: Operator) -> Iterator[Check]:
    """Images and measurements of another shape, or of integers, are refused by name."""
    calls: list[tuple[str, Callable[[Tensor], Tensor], Shape]] = [
        ("A", operator.A, operator.image_shape)
    ]
    if operator.linear:
        calls.append(("A_adjoint", operator.A_adjoint, operator.measurement_shape))
    for name, call, shape in calls:
        for what, wrong in (
            ("another width", (*shape[:-1], shape[-1] + 1)),
            ("another number of channels", (shape[0] + 1, *shape[1:])),
            ("one dimension less", shape[1:]),
        ):
            t = torch.zeros(operator.batch, *wrong, dtype=DOUBLE)
            yield holds("PH15", f"{name} refuses {what}", _is_refused(call, t))
        integers = torch.zeros(operator.batch, *shape, dtype=torch.int64)
        yield holds("PH15", f"{name} refuses integers", _is_refused(call, integers))


def _is_refused(call: Callable[[Tensor], Tensor], wrong: Tensor) -> bool:
    try:
        call(wrong)
    except (ShapeError, TypeCheckError):  # the second where shapes are types, as in tests
        return True
    return False


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
    error = _errors(power.mean() - 1, float(power.std()), n)
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
