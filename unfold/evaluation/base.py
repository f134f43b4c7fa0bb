"""What is measured at the end of a run: `evaluation`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unfold.data.example import Example, stack
from unfold.errors import NonFiniteError, listing
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.records import Row
from unfold.models.model import Solution
from unfold.parameters.bounds import Declared
from unfold.physics.base import Examples, Physics
from unfold.physics.operator import Operator
from unfold.physics.wrapped import MaskedMeasurement, split
from unfold.pytree import batched_norm
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.typing import Image, Measurement, PerImage

OTHERS = "evaluations"
"""The folder in a run directory of evaluations that are not its own, each in its own directory."""


class ImageBatch(NamedTuple):
    """Examples of one kind, with their names and their positions in the split."""

    names: tuple[str, ...]
    positions: tuple[int, ...]
    examples: Examples

    @property
    def images(self) -> Image | None:
        """(B, C, H, W), where they are known."""
        return self.examples.images

    def part(self, where: slice) -> "ImageBatch":
        """Some of them."""
        kept = self.examples.map(lambda t: t[where])
        return ImageBatch(self.names[where], self.positions[where], kept)


LARGE = 2**15
"""Numbers in an example from which on a batch leaves the cache of a core: it takes longer than its
examples one by one, a quarter longer for total variation at 512 x 512."""


def batches(
    examples: Iterable[tuple[str, Example]], size: int = 8, device: str = "cpu"
) -> Iterator[ImageBatch]:
    """Group consecutive examples of one kind, at most `size` together, as they are asked for.

    On a CPU, large ones are at most one for each thread. No result depends on the grouping.
    """
    for kind, group in groupby(enumerate(examples), lambda pair: pair[1][1].kind):
        large = device == "cpu" and any(prod(shape) > LARGE for _, *shape in kind)
        most = min(size, torch.get_num_threads()) if large else size
        while part := list(islice(group, most)):
            places, named = zip(*part, strict=True)
            names, held = zip(*named, strict=True)
            yield ImageBatch(names, places, stack(held))


class Case(NamedTuple):
    """The measurements of a batch, the operators that made them, and the noise levels, (B,)."""

    y: Measurement
    operator: Operator
    noise_level: PerImage | None


def measure(physics: Physics, batch: ImageBatch, seed: int, split: str) -> Case:
    """The measurements of a batch: a function of the seed, the split and the images."""
    draws = Draws(seed, batch.positions, split)
    physics = physics.given(batch.examples)
    y, operator = physics.measure(batch.examples, draws)
    return Case(y, operator, physics.noise_level(y, operator, draws))


class Condition(NamedTuple):
    """An operator and a noise level to test under.

    name: of the operator.
    noise: the level, as the tables print it.
    physics: the forward model.
    """

    name: str
    noise: str
    physics: Physics


class Shown(NamedTuple):
    """One image under one condition, for the gallery.

    measurement: as an image; where it is none, the back-projection.
    pictured: whether it is the measurement itself.
    flags: of convergence, of the baseline and of ours, as in a row.
    baseline: the last of those that are tuned; None where none is.
    method: the name of the baseline, as a row has it.
    psnr: of both, in dB on the range of the metrics; NaN without a truth.
    """

    condition: Condition
    name: str
    truth: Tensor | None
    measurement: Tensor
    pictured: bool
    baseline: Tensor | None
    method: str
    ours: Tensor
    flags: tuple[str, str]
    psnr: tuple[float, float]


class Result(NamedTuple):
    """What a method makes of a batch.

    image: (B, C, H, W).
    iterations: of each image.
    flags: of convergence, `True` or `False` for each image; "" where there is no tolerance.
    """

    image: Image
    iterations: list[int]
    flags: list[str]


def solved(solution: Solution) -> Result:
    """The result that a solution is."""
    reached, count = solution.converged, len(solution.image)
    flags = [""] * count if reached is None else [str(flag) for flag in reached.cpu().tolist()]
    return Result(solution.image, solution.iterations.cpu().tolist(), flags)


def anchor_of(net: Reconstructor) -> Tensor:
    """A tensor on the device and in the precision of a reconstructor."""
    held = (*net.parameters(), *net.buffers())
    return next((t for t in held if t.is_floating_point()), torch.empty(()))


@dataclass(frozen=True, eq=False)
class Context:
    """A reconstructor, and what it is evaluated on.

    Args:
        reconstructor: with the weights to evaluate.
        data: gives `examples(split)`, `fingerprint()`, `evaluation_batch_size` and `multiple_of`.
        directory: of the run, or of another evaluation in its folder `evaluations`; results go into
            the folder `evaluation` of it.
        physics: the forward model that was trained on.
        trained_on: its name.
        metrics: of every image.
        seed: of the draws; those of the test images never change.
        progress: whether a progress bar is shown.
    """

    reconstructor: Reconstructor
    data: Any
    directory: Path
    physics: Physics
    trained_on: str
    metrics: ImageMetrics
    seed: int
    progress: bool = True

    @property
    def run(self) -> Path:
        """The directory of the run."""
        inside = self.directory.parent.name == OTHERS
        return self.directory.parents[1] if inside else self.directory

    @property
    def folder(self) -> Path:
        """Where results go."""
        return self.directory / "evaluation"

    @property
    def anchor(self) -> Tensor:
        """A tensor on the device and in the precision of the reconstructor."""
        return anchor_of(self.reconstructor)

    def test_batches(self) -> Iterator[ImageBatch]:
        """The test images, where they are reconstructed."""
        anchor, kept = self.anchor, self.physics.on_host
        size = self.data.evaluation_batch_size
        for one in batches(self.data.examples("test"), size, anchor.device.type):
            yield one._replace(examples=one.examples.like(anchor, kept))


@torch.no_grad()
def reconstruct(context: Context, condition: Condition, batch: ImageBatch, case: Case) -> Result:
    """The reconstructions of a batch.

    Raises:
        NonFiniteError: some are not finite, which no mean may leave out; names them.
    """
    y, operator, level = case
    solution = context.reconstructor.solve(y, operator, noise_level=level)
    finite = torch.isfinite(solution.image).flatten(1).all(1).cpu().tolist()
    if bad := [name for name, ok in zip(batch.names, finite, strict=True) if not ok]:
        raise NonFiniteError(
            f"The reconstruction of {listing(bad)} under {condition.name}, noise "
            f"{condition.noise} is not finite. Leave the operator out of the evaluation, or "
            "change the model's tolerances or step sizes."
        )
    return solved(solution)


HIDDEN = 0.1
"""The share of the measured entries that are predicted where there is no true image."""


@torch.no_grad()
def hidden_error(net: Reconstructor, case: Case, used: Tensor, left: Tensor) -> PerImage:
    """‖Ax̂ − y‖ / ‖y‖ over the entries of y that are left, x̂ reconstructed from those used."""
    y, operator, level = case
    x = net.solve(used * y, MaskedMeasurement(operator, used), noise_level=level).image
    return batched_norm(left * (operator.A(x) - y)) / batched_norm(left * y)


def risk(context: Context, case: Case, image: Image, draws: Draws) -> PerImage:
    """√ of `stein`, relative to ‖y‖."""
    b = context.physics.probe(case.y, case.operator, draws)
    found = stein(context.reconstructor, case, image, b)
    return found.clamp(min=0).sqrt() / batched_norm(case.y)


def stein(net: Reconstructor, case: Case, image: Image, b: Measurement) -> PerImage:
    """Stein's estimate of ‖Ax̂ − v‖²; v is y without its noise of level σ, b a normal probe.

    ‖h(y) − y‖² − nσ² + 2σ² Re b*(h(y + τb) − h(y))/τ over n measured entries, h(y) = Ax̂(y).
    """
    y, operator, level = case
    assert level is not None
    where = torch.ones_like(y.real) if operator.acquired is None else operator.acquired
    b, h = where * b, operator.A(image)
    moved = operator.A(net.solve(y + 1e-2 * b, operator, noise_level=level).image)
    slope = 1e2 * (b.conj() * (moved - h)).real.flatten(1).sum(1)
    count = where.expand(y.shape).flatten(1).sum(1)
    return batched_norm(where * (h - y)) ** 2 + level**2 * (2 * slope - count)


def scores_of(
    context: Context, batch: ImageBatch, case: Case, image: Image, method: str
) -> dict[str, PerImage]:
    """The metrics; without a true image what is known then, which says less.

    `consistency`, ‖Ax̂ − y‖ / ‖y‖, of every method; of ours the `held_out_error`, and where the
    noise level is known the `risk`.
    """
    if batch.images is not None:
        return context.metrics(image, batch.images, batch.examples.maximum)
    size = batched_norm(case.y)
    found = {"consistency": batched_norm(case.operator.A(image) - case.y) / size}
    if method == "ours" and case.operator.linear:
        draws = Draws(context.seed, batch.positions, "test").within("without truth").like(case.y)
        used, left = split(case.operator, case.y, draws, 1 - HIDDEN)
        found["held_out_error"] = hidden_error(context.reconstructor, case, used, left * (1 - used))
        if case.noise_level is not None:
            found["risk"] = risk(context, case, image, draws)
    return found


def rows_of(
    context: Context,
    condition: Condition,
    batch: ImageBatch,
    case: Case,
    results: Mapping[str, Result],
) -> list[Row]:
    """One row for each method, metric and image of a batch."""
    other = context.reconstructor.own_start.instead(case.operator)
    return [
        Row(
            run=context.run.name,
            trained_on=context.trained_on,
            tested_on=condition.name,
            noise=condition.noise,
            method=method,
            iterations=iterations[i],
            converged=flags[i],
            image=name,
            metric=metric,
            value=values[i],
            truth=context.data.truth if context.data.measured else "",
            start=type(other).__name__ if other and method == "ours" else "",
        )
        for method, (image, iterations, flags) in results.items()
        for metric, scores in scores_of(context, batch, case, image, method).items()
        for values in (scores.cpu().tolist(),)
        for i, name in enumerate(batch.names)
    ]


@dataclass(frozen=True)
class Evaluation(Declared, ABC):
    """What is measured at the end of a run."""

    def forward_models(self, physics: Physics) -> Mapping[str, Physics]:
        """The forward models to test on besides the one trained on, by the key they have."""
        return {}

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        """Refuse, before training, a run that cannot be evaluated; `operator` is one sample."""

    @abstractmethod
    def run(self, context: Context) -> dict[str, float]:
        """Write rows, tables and figures, and return the main figures."""


@dataclass(frozen=True)
class NoEvaluation(Evaluation):
    """Nothing is measured."""

    def run(self, context: Context) -> dict[str, float]:
        return {}


def evaluate(evaluation: Evaluation, context: Context) -> dict[str, float]:
    """Run an evaluation with the reconstructor in evaluation mode."""
    context.reconstructor.eval()
    return evaluation.run(context)
