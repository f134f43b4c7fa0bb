"""Evaluation across operators, noise levels and iterations, beside baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.progress import Progress
from torch import Tensor

from unfold.errors import ConfigError
from unfold.evaluation.baselines import Baselines, Batch, batches, measure
from unfold.evaluation.convergence import follow
from unfold.evaluation.figures import convergence_figure, training_figure
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.records import Row
from unfold.evaluation.report import headline, write_report
from unfold.evaluation.robustness import sweep, write_sweep
from unfold.evaluation.settings import AcrossOperators, Evaluation, NoEvaluation, Robustness
from unfold.models.model import Solution
from unfold.models.unfolded import Unfolded
from unfold.physics.base import Physics
from unfold.physics.noise.base import with_sigma
from unfold.reconstructor import Reconstructor
from unfold.typing import Image


class Condition(NamedTuple):
    """An operator and a noise level to test under.

    name: of the operator; `matched` names the law trained on at its own noise.
    noise: the level, as the tables print it.
    physics: the law.
    """

    name: str
    noise: str
    physics: Physics


class Shown(NamedTuple):
    """One image of one condition, for the gallery.

    measurement: a picture of it; of what is no picture, that of the back-projection.
    pictured: whether it is the measurement itself.
    """

    condition: Condition
    name: str
    truth: Tensor
    measurement: Tensor
    pictured: bool
    baseline: Tensor
    ours: Tensor


class Context(NamedTuple):
    """What every row says of its run."""

    run: str
    trained_on: str
    metrics: ImageMetrics


def conditions(evaluation: AcrossOperators, physics: Physics, trained_on: str) -> list[Condition]:
    """The law trained on at its own noise, then every operator at every level.

    Noise without a standard deviation (counts, bits, the noises of a mixture) stays as it is.
    """
    found = [Condition(trained_on, "as trained", physics)]
    for name, law in evaluation.operators.items():
        if not hasattr(law.noise, "sigma"):
            found.append(Condition(name, "its own", law))
            continue
        for level in evaluation.noise_levels:
            found.append(
                Condition(name, f"{level:g}", law.with_noise(with_sigma(law.noise, level)))
            )
    return found


def evaluate(
    reconstructor: Reconstructor,
    data: Any,
    evaluation: Evaluation,
    directory: Path,
    *,
    physics: Physics,
    trained_on: str,
    metrics: ImageMetrics,
    seed: int,
    progress: bool = True,
) -> dict[str, float]:
    """Measure the reconstructor, write rows, tables and figures, return the main figures.

    Args:
        reconstructor: with the weights to evaluate.
        data: gives `images(split)`, `fingerprint()`, `evaluation_batch_size` and `multiple_of`.
        evaluation: what is asked for.
        directory: of the run; everything goes into its folder `evaluation`.
        physics: the law trained on.
        trained_on: its name.
        metrics: of every image.
        seed: of the draws; those of the test images never change.
        progress: whether a bar is shown.
    """
    if isinstance(evaluation, NoEvaluation):
        return {}
    reconstructor.eval()
    test = data.images("test")
    if isinstance(evaluation, Robustness):
        found = sweep(
            reconstructor,
            batches(test, data.evaluation_batch_size),
            evaluation,
            physics,
            metrics,
            seed,
        )
        return write_sweep(directory / "evaluation", found, directory.name, trained_on)
    assert isinstance(evaluation, AcrossOperators)
    context = Context(directory.name, trained_on, metrics)
    cache, multiple = directory.parents[1] / ".cache", data.multiple_of
    baselines = Baselines(
        evaluation.tv, data.images("validation"), test, data.fingerprint(), seed, cache, multiple
    )
    rows: list[Row] = []
    shown: list[Shown] = []
    with Progress(transient=True, disable=not progress) as bar:
        wanted = conditions(evaluation, physics, trained_on)
        for condition in bar.track(wanted, description="evaluating"):
            tv = baselines.total_variation(condition.physics)
            for batch in batches(test, data.evaluation_batch_size):
                new, pictures = _one_batch(
                    reconstructor,
                    evaluation,
                    condition,
                    batch,
                    tv.images,
                    tv.converged,
                    context,
                    seed,
                )
                rows += new
                shown += pictures
            if progress and not bar.console.is_terminal:
                bar.console.print(f"evaluated on {condition.name}, noise {condition.noise}")
    folder, alive = directory / "evaluation", _acting(reconstructor)
    figures = write_report(folder, rows, shown, alive, evaluation.gallery)
    training_figure(directory / "metrics.csv", headline(rows), folder / "training.png")
    courses = follow(reconstructor, physics, test[: evaluation.gallery], seed)
    if courses:
        convergence_figure(courses, folder / "convergence.png")
    return figures


def _acting(reconstructor: Reconstructor) -> dict[str, Tensor]:
    """Every scalar that has a say in the result."""
    values = reconstructor.parameter_values()
    return {name: value for name, value in values.items() if name not in reconstructor.dead}


@torch.no_grad()
def _one_batch(
    reconstructor: Reconstructor,
    evaluation: AcrossOperators,
    condition: Condition,
    batch: Batch,
    tv: Sequence[Tensor],
    tv_converged: Sequence[bool],
    context: Context,
    seed: int,
) -> tuple[list[Row], list[Shown]]:
    y, operator = measure(condition.physics, batch, seed, "test")
    ours = reconstructor.solve(y, operator)
    baseline = torch.stack([tv[i] for i in batch.positions])
    back, linear = operator.back_project(y), operator.linear_baseline(y)
    images: dict[str, tuple[Image, Solution | None]] = {
        "back_projection": (back, None),
        linear.method: (linear.image, None),
        "tv": (baseline, None),
        "ours": (ours.image, ours),
    }
    for count, solution in _other_counts(reconstructor, evaluation, y, operator):
        images[f"ours, {count} iterations"] = (solution.image, solution)
    flags = {"tv": [str(tv_converged[i]) for i in batch.positions]}
    rows = [
        row
        for method, (image, solution) in images.items()
        for row in _rows(context, condition, batch, method, image, solution, flags.get(method))
    ]
    pictured = y.ndim == 4 and y.shape[1] in (1, 3)
    tensors = zip(batch.names, batch.images, y if pictured else back, strict=True)
    pairs = zip(tensors, zip(baseline, ours.image, strict=True), strict=True)
    return rows, [Shown(condition, *seen, pictured, *found) for seen, found in pairs]


def _other_counts(
    reconstructor: Reconstructor, evaluation: AcrossOperators, y: Tensor, operator: Any
) -> Iterator[tuple[int, Solution]]:
    """The same network with other numbers of iterations."""
    model = reconstructor.model
    if not evaluation.iterations:
        return
    if not isinstance(model, Unfolded) or reconstructor.algo.varies or reconstructor.prior.varies:
        raise ConfigError(
            f"evaluation.iterations = {list(evaluation.iterations)}: only a tied unfolded network "
            "can be run for other numbers of iterations; set evaluation.iterations=[]."
        )
    steps = reconstructor.steps(y, operator)
    for count in evaluation.iterations:
        yield count, replace(model, iterations=count).run(steps)


def _rows(
    context: Context,
    condition: Condition,
    batch: Batch,
    method: str,
    image: Image,
    solution: Solution | None,
    flags: Sequence[str] | None,
) -> list[Row]:
    steps = [0] * len(batch.names)
    if solution is not None:
        steps = solution.iterations.tolist()
        if solution.converged is not None:
            flags = [str(flag) for flag in solution.converged.tolist()]
    flags = flags or [""] * len(batch.names)
    figures: Mapping[str, Tensor] = context.metrics(image, batch.images)
    return [
        Row(
            run=context.run,
            trained_on=context.trained_on,
            tested_on=condition.name,
            noise=condition.noise,
            method=method,
            iterations=steps[i],
            converged=flags[i],
            image=batch.names[i],
            metric=metric,
            value=float(values[i]),
        )
        for metric, values in figures.items()
        for i in range(len(batch.names))
    ]
