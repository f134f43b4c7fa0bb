"""One step on a few images before a run begins: what does not fit is found in time."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from torch import Tensor

from unfold.algorithms.algorithm import Algorithm, Guarantee
from unfold.cli.console import say
from unfold.compatibility import check_linear
from unfold.config.components import Components
from unfold.errors import ConfigError, DataError, ShapeError, UnfoldError
from unfold.evaluation.base import Evaluation
from unfold.fidelities.amplitude import Amplitude
from unfold.models.model import Solution
from unfold.physics.base import Measured, Physics
from unfold.physics.mixture import Mixture
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.training.losses.base import Trial
from unfold.typing import Image, Measurement

SIZES = 3
"""Sizes of whole images, the smallest, that are tried beside the crop."""


def dry_run(parts: Components, seed: int, *, strict: bool = False) -> None:
    """Measure a crop and whole images under every operator, and take one step of the algorithm.

    Args:
        parts: of the run, with images that were checked.
        seed: of the draws.
        strict: whether values outside the proven range are an error.

    Raises:
        DataError: the images do not fit an operator.
        ShapeError: the images do not fit a network or a prior.
        ConfigError: an operator cannot act on such images, no mismatch can on the operator, the
            loss is not made for the noise, or what it reconstructs cannot be.
    """
    import torch

    _expect_amplitudes(parts)
    if parts.reconstructor.model.trains:
        parts.groups["loss"].check(parts.physics)
    draws = Draws(seed, (0,), "validation")
    crop = parts.data.crop
    whole = _whole_images(parts)
    images = [whole[0][..., :crop, :crop], *whole]
    evaluation = parts.evaluation
    tested_on = _tested_on(evaluation)
    others = tested_on | _families("physics", parts.physics)
    kind = type(parts.reconstructor.algo.recipe)
    with torch.no_grad():
        for image in images:
            y, operator = _measure(parts.physics, image, draws)
            evaluation.check(parts.reconstructor, parts.physics, operator)
            for name, law in others.items():
                measured = _measure(law, image, draws)
                check_linear(kind, measured.operator, f" of {name}")
                if image is images[0]:
                    _begin(parts.reconstructor, measured, name)
            algorithm, _ = _one_step(parts.reconstructor, y, operator)
            if image is images[0]:
                guarantee = parts.reconstructor.guarantee(y, operator)
                _promise(algorithm, guarantee, strict=strict)
                if parts.reconstructor.model.trains:
                    _judge(parts, image, Measured(y, operator), draws)


def _begin(reconstructor: Reconstructor, measured: Measured, name: str) -> None:
    """Start a reconstruction under a law that the measurements of the rehearsal do not show."""
    instead = " Or set evaluation=none." if name.startswith("evaluation.") else ""
    with _named(name, instead):
        reconstructor.steps(measured.y, measured.operator)


def _judge(parts: Components, image: Image, measured: Measured, draws: Draws) -> None:
    """Let the loss reconstruct what it trains on, by one step, and judge it."""
    loss, (y, operator) = parts.groups["loss"], measured

    def solve(y: Measurement, operator: Operator) -> Solution:
        algorithm, state = _one_step(parts.reconstructor, y, operator)
        nothing = y.new_zeros(len(y), dtype=y.dtype.to_real())
        return Solution(algorithm.image(state), state, nothing, nothing)

    trial = Trial(y, operator, image, parts.physics, draws, solve)
    with _named(f"loss {type(loss).__name__}"):
        loss.value(loss.reconstruct(trial), trial)


def _one_step(
    reconstructor: Reconstructor, y: Measurement, operator: Operator
) -> tuple[Algorithm[Any], Any]:
    """The algorithm of the first iteration, and the state after it."""
    steps = reconstructor.steps(y, operator)
    algorithm, problem = steps.at(0)
    return algorithm, steps.step(0, algorithm.init(problem))


@contextmanager
def _named(owner: str, instead: str = "") -> Iterator[None]:
    """Errors that say at what they were met, and what else may be done."""
    try:
        yield
    except UnfoldError as error:
        raise type(error)(f"{owner}: {error}{instead}") from error


def _tested_on(evaluation: Evaluation) -> dict[str, Physics]:
    """The forward models that the evaluation tests on, by their keys."""
    tested = evaluation.forward_models().items()
    return {f"evaluation.operators.{name}": physics for name, physics in tested}


def _families(key: str, law: Physics) -> dict[str, Physics]:
    """The laws of a mixture by their keys, of which a single image meets but one."""
    if not isinstance(law, Mixture):
        return {}
    own = {f"{key}.families.{name}": family for name, family in law.families.items()}
    return own | {k: v for name, family in own.items() for k, v in _families(name, family).items()}


def _whole_images(parts: Components) -> list[Image]:
    """One validation or test image of each of the smallest sizes, the first one first."""
    named = [*parts.data.images("validation"), *parts.data.images("test")]
    by_size = {image.shape: image[None] for _, image in reversed(named)}
    smallest = sorted(by_size.values(), key=lambda image: image.numel())[:SIZES]
    first = named[0][1][None]
    return [first, *(image for image in smallest if image.shape != first.shape)]


def _expect_amplitudes(parts: Components) -> None:
    """Amplitudes are not linear in the image: one fidelity is made for them."""
    if type(parts.physics).observe is Physics.observe:
        return
    fidelity = parts.reconstructor.fidelity
    if not isinstance(fidelity, Amplitude):
        raise ConfigError(
            f"fidelity {type(fidelity).__name__} needs measurements that are linear in the image, "
            f"and physics {type(parts.physics).__name__} measures amplitudes |Ax|. Set "
            "fidelity=amplitude start=spectral, and an algorithm that needs the gradient of f "
            "alone, such as algo=pgd or algo=gd."
        )


def _measure(law: Physics, image: Image, draws: Draws) -> Measured:
    try:
        return law.measure(image, draws)
    except ShapeError as error:
        raise DataError(str(error)) from error


def _promise(algorithm: Algorithm[Any], guarantee: Guarantee, *, strict: bool) -> None:
    """Say where the values lie outside the range in which the algorithm is known to converge."""
    if guarantee.holds:
        return
    named = [f.name for f in fields(algorithm) if re.search(rf"\b{f.name}\b", guarantee.condition)]
    values = "".join(f"algo.{name} = {_written(getattr(algorithm, name))}, " for name in named)
    text = (
        f"{values or 'algo: '}outside of what is known to converge, {guarantee.condition}. "
        "See unfold explain"
    )
    if strict:
        raise ConfigError(f"{text}. strict=true makes it an error.")
    say(f"warning: {text}.")


def _written(value: object) -> str:
    """A number, or the numbers of a tensor."""
    if isinstance(value, Tensor):
        return ", ".join(f"{v:.4g}" for v in value.flatten().tolist())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
