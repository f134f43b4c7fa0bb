"""One step on a few images before a run begins, to find components that do not fit."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from torch import Tensor

from unfold.algorithms.algorithm import Algorithm, Guarantee
from unfold.cli.console import say
from unfold.compatibility import check_linear
from unfold.config.check import Components
from unfold.data.dataset import Data
from unfold.errors import ConfigError, DataError, ShapeError, UnfoldError
from unfold.evaluation.base import anchor_of
from unfold.evaluation.metrics import ImageMetrics
from unfold.fidelities.amplitude import Amplitude
from unfold.fidelities.fidelity import data_term
from unfold.models.model import Solution
from unfold.physics.base import Examples, Measured, Physics
from unfold.physics.mixture import Mixture
from unfold.physics.noise.measured import MeasuredNoise
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.training.losses import Trial
from unfold.typing import Image, Measurement, PerImage


def dry_run(components: Components, seed: int, *, strict: bool = False) -> None:
    """Measure a crop and full images with every operator, and take one step of the algorithm.

    All where the run is computed; the reconstructor is on the CPU afterwards.
    """
    import torch

    physics, net, evaluation = components.physics, components.reconstructor, components.evaluation
    _expect_amplitudes(components)
    _expect_truth(components)
    if components.data.measured and not isinstance(physics.noise, MeasuredNoise):
        say(
            "note: measurements keep their own noise, whose level is not known here; "
            "physics/noise=measured estimates it, or takes it from physics.noise.sigma."
        )
    if net.model.trains:
        components.loss.check(physics, net.model)
    draws = Draws(seed, (0,), "validation")
    trainer = components.trainer
    anchor = anchor_of(net.to(trainer.device if trainer.processes == 1 else "cpu"))
    crop, *others = (one.like(anchor, physics.on_host) for one in components.data.typical())
    _warn_of_crops(physics, components.data, crop, others)
    tested = dict(evaluation.forward_models(physics))
    with torch.no_grad():
        for image in (crop, *others):
            own = physics.given(image)
            y, operator = measured = _measure(own, image, draws)
            level = own.noise_level(y, operator, draws)
            evaluation.check(net, physics, operator)
            for name, model in (tested | _families("physics", physics)).items():
                if components.data.measured:
                    break  # of other operators there is no measurement
                y_, A = _measure(model, image, draws)
                check_linear(type(net.algo.recipe), A, f" of {name}")
                if image is crop:
                    instead = " Or set evaluation=none." if name in tested else ""
                    with _named(name, instead):
                        if name not in tested:
                            _expect_start(net, A, y_)
                        net.steps(y_, A, model.noise_level(y_, A, draws))
            if image is not crop and image.images is not None:
                _try_metrics(components.metrics, image.images)
            _expect_start(net, operator, y)
            algorithm, _ = _one_step(net, y, operator, level)
            if image is crop:
                _check_convergence(algorithm, net.guarantee(y, operator, level), strict=strict)
                if net.model.trains:
                    _try_loss(components, own, image, measured, draws)
    net.to("cpu")


def _warn_of_crops(physics: Physics, data: Data, crop: Examples, others: list[Examples]) -> None:
    """A crop is cut from the image, never from what was measured; it is a field of view itself."""
    shapes = [one.images.shape[-2:] for one in (crop, *others) if one.images is not None]
    if physics.whole_images and getattr(data, "crop", None) and len(set(shapes)) > 1:
        sides = ["x".join(map(str, shape)) for shape in (shapes[0], max(shapes))]
        say(
            f"note: physics {type(physics).__name__} acts on whole images. Training crops of "
            f"{sides[0]} are cut from the images, and each is measured as a field of view of its "
            f"own, with a mask of {sides[0]}; images are tested up to {sides[1]}. data=volumes "
            "data.crop=null trains on whole images."
        )


def _try_metrics(metrics: ImageMetrics, image: Image) -> None:
    """Evaluate every metric on an image and itself; they raise errors of many kinds."""
    try:
        metrics(image, image)
    except Exception as error:
        raise DataError(
            f"a validation or test image of {image.shape[-2]}x{image.shape[-1]} pixels cannot be "
            f"scored: {error} Remove it, or change metrics.names, metrics.border or metrics.extra."
        ) from error


def _try_loss(
    components: Components, physics: Physics, image: Examples, measured: Measured, draws: Draws
) -> None:
    """Evaluate the loss of a reconstruction by one step."""
    loss, (y, operator) = components.loss, measured
    level = physics.noise_level(y, operator, draws)

    def solve(y: Measurement, operator: Operator) -> Solution:
        _expect_start(components.reconstructor, operator, y)
        algorithm, state = _one_step(components.reconstructor, y, operator, level)
        zero = y.new_zeros(len(y), dtype=y.dtype.to_real())
        image = algorithm.image(state)
        count = components.reconstructor.model.count or 1
        return Solution(image, state, zero, zero, iterates=(image,) * (count + 1))

    trial = Trial(y, operator, image.images, physics, draws, solve)
    with _named(f"loss {type(loss).__name__}"):
        loss.value(loss.reconstruct(trial), trial)


def _expect_start(net: Reconstructor, operator: Operator, y: Measurement) -> None:
    """Refuse to train from the start that is declared for other operators."""
    if (start := net.own_start).instead(operator) is not None:
        start.image(data_term(net.fidelity, operator, y))


def _one_step(
    net: Reconstructor, y: Measurement, operator: Operator, noise_level: PerImage | None
) -> tuple[Any, Any]:
    """The algorithm of the first iteration, and the state after it."""
    steps = net.steps(y, operator, noise_level)
    algorithm, problem = steps.at(0)
    with fitting(f"a measurement of shape {tuple(y.shape)}"):
        return algorithm, steps.step(0, algorithm.init(problem))


@contextmanager
def fitting(given: str) -> Iterator[None]:
    """Errors that a network of another library raises for the sides of its images are ours."""
    try:
        yield
    except RuntimeError as error:
        raise ShapeError(
            f"the network of the prior cannot be applied to {given}: "
            f"{' '.join(str(error).split())} Where it halves its images, set data.multiple_of to "
            "the power of two that their sides must divide by, and data.crop to a multiple of it."
        ) from error


@contextmanager
def _named(owner: str, instead: str = "") -> Iterator[None]:
    """Errors of the body name the owner, and what else can be done."""
    try:
        yield
    except UnfoldError as error:
        raise type(error)(f"{owner}: {error}{instead}") from error


def _families(key: str, physics: Physics) -> dict[str, Physics]:
    """The forward models of a mixture by their keys; a single image is measured by one only."""
    if not isinstance(physics, Mixture):
        return {}
    own = {f"{key}.families.{name}": family for name, family in physics.families.items()}
    return own | {k: v for name, family in own.items() for k, v in _families(name, family).items()}


def _expect_amplitudes(components: Components) -> None:
    """Amplitudes are not linear in the image: one fidelity is made for them."""
    if type(components.physics).observe is Physics.observe:
        return
    fidelity = components.reconstructor.fidelity
    if not isinstance(fidelity, Amplitude):
        raise ConfigError(
            f"fidelity {type(fidelity).__name__} needs measurements that are linear in the image, "
            f"and physics {type(components.physics).__name__} measures amplitudes |Ax|. Set "
            "fidelity=amplitude start=spectral, and an algorithm that needs the gradient of f "
            "alone, such as algo=pgd or algo=gd."
        )


def _expect_truth(components: Components) -> None:
    """Without true images nothing is compared with them, in training or in validation."""
    if components.data.truth or not components.reconstructor.model.trains:
        return
    if components.loss.needs_truth:
        raise ConfigError(
            f"loss {type(components.loss).__name__} compares with true images, and not all examples"
            " of the data have one. Set loss=splitting, or loss=sure where the noise is known, and "
            "objective=validation/loss."
        )


def _measure(physics: Physics, image: Examples, draws: Draws) -> Measured:
    try:
        return physics.measure(image, draws)
    except ShapeError as error:
        raise DataError(str(error)) from error


def _check_convergence(algorithm: Algorithm[Any], guarantee: Guarantee, *, strict: bool) -> None:
    """Warn about values outside the range in which the algorithm is known to converge."""
    if guarantee.holds:
        return
    named = [f.name for f in fields(algorithm) if re.search(rf"\b{f.name}\b", guarantee.condition)]
    values = "".join(f"algo.{name} = {_shown(getattr(algorithm, name))}, " for name in named)
    known = f"outside of what is known to converge, {guarantee.condition}"
    text = f"{values or 'algo: '}{known}. See unfold explain"
    if strict:
        raise ConfigError(f"{text}. strict=true makes it an error.")
    say(f"warning: {text}.")


def _shown(value: object) -> str:
    """A number, or the numbers of a tensor."""
    if isinstance(value, Tensor):
        return ", ".join(f"{v:.4g}" for v in value.flatten().tolist())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
