"""Evaluation across operators, noise levels and iteration counts, compared with baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unfold.errors import ConfigError, IncompatibleError
from unfold.evaluation.base import (
    Case,
    Condition,
    Context,
    Evaluation,
    Example,
    ImageBatch,
    NoEvaluation,
    check_finite,
    convergence_flags,
    measure,
)
from unfold.evaluation.baselines import Baselines, TunedTV, Weighted
from unfold.evaluation.records import UNTUNED, Row
from unfold.evaluation.robustness import sigma_of
from unfold.models.model import Solution
from unfold.models.unfolded import Unfolded
from unfold.parameters.bounds import bounded, nonnegative, whole
from unfold.physics.base import Physics
from unfold.physics.noise.base import with_sigma
from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor
from unfold.typing import Image


@dataclass(frozen=True)
class AcrossOperators(Evaluation):
    """Every operator at every noise level, and the operator trained on at its own.

    Args:
        operators: by name; the names are the columns of the matrix.
        noise_levels: given to the noise of each operator.
        tv: the tuned baseline.
        iterations: further iteration counts of a tied unfolded network.
        gallery: how many images of the operator trained on are shown.
    """

    operators: Mapping[str, Physics]
    noise_levels: tuple[float, ...] = bounded((0.02, 0.05), nonnegative)
    tv: TunedTV = TunedTV()
    iterations: tuple[int, ...] = bounded((), whole(1))
    gallery: int = bounded(2, whole(0), "in images")

    def forward_models(self) -> Mapping[str, Physics]:
        return self.operators

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        for tested in (physics, *self.operators.values()):
            if type(tested).observe is not Physics.observe:
                raise IncompatibleError(
                    "{evaluation}: {physics} measures amplitudes, and the baselines "
                    "(back-projection, pseudo-inverse, total variation) need linear measurements. "
                    "Use {instead}.",
                    evaluation=AcrossOperators,
                    physics=type(tested),
                    instead=NoEvaluation,
                )
        self._unfolded(reconstructor)

    def _unfolded(self, reconstructor: Reconstructor) -> Unfolded | None:
        """The model to run with other iteration counts; None where none are asked for."""
        model = reconstructor.model
        if not self.iterations:
            return None
        untied = reconstructor.algo.varies or reconstructor.prior.varies
        if untied or not isinstance(model, Unfolded):
            raise ConfigError(
                f"AcrossOperators.iterations = {list(self.iterations)}: only a tied unfolded "
                "network can be run with other numbers of iterations; set iterations=[]."
            )
        return model

    def conditions(self, physics: Physics, trained_on: str) -> list[Condition]:
        """The forward model trained on with its own noise, then every operator at every level.

        Noise without a standard deviation (counts, bits, the noises of a mixture) is unchanged.
        """
        found = [Condition(trained_on, "as trained", physics)]
        for name, tested in self.operators.items():
            if sigma_of(tested.noise) is None:
                found.append(Condition(name, "its own", tested))
                continue
            for level in self.noise_levels:
                noisy = tested.with_noise(with_sigma(tested.noise, level))
                found.append(Condition(name, f"{level:g}", noisy))
        return found

    def run(self, context: Context) -> dict[str, float]:
        from rich.progress import Progress

        from unfold.evaluation.report import write_report

        data, cache = context.data, context.run.parents[1] / ".cache"
        images = data.images("validation"), data.images("test")
        baselines = Baselines(
            self.tv, *images, data.fingerprint(), context.seed, cache, data.multiple_of
        )
        rows: list[Row] = []
        examples: list[Example] = []
        with Progress(transient=True, disable=not context.progress) as bar:
            wanted = self.conditions(context.physics, context.trained_on)
            for condition in bar.track(wanted, description="evaluating"):
                tv = baselines.total_variation(condition.physics)
                for batch in context.test_batches():
                    new, shown = self._one_batch(context, condition, batch, tv)
                    rows += new
                    examples += shown
                if context.progress and not bar.console.is_terminal:
                    bar.console.print(f"evaluated on {condition.name}, noise {condition.noise}")
        return write_report(context, rows, examples, self.gallery)

    @torch.no_grad()
    def _one_batch(
        self, context: Context, condition: Condition, batch: ImageBatch, tv: Weighted
    ) -> tuple[list[Row], list[Example]]:
        case = measure(condition.physics, batch, context.seed, "test")
        y, operator, level = case
        ours = context.reconstructor.solve(y, operator, noise_level=level)
        check_finite(ours.image, batch.names, f"{condition.name}, noise {condition.noise}")
        baseline = torch.stack([tv.images[i] for i in batch.positions])
        back, linear = operator.back_project(y), operator.linear_baseline(y)
        images: dict[str, tuple[Image, Solution | None]] = {
            "back_projection": (back, None),
            linear.method: (linear.image, None),
            "tv": (baseline, None),
            "ours": (ours.image, ours),
        }
        for count, solution in self._other_counts(context.reconstructor, case):
            images[f"ours, {count} iterations"] = (solution.image, solution)
        marks = [str(tv.converged[i]) if tv.tuned else UNTUNED for i in batch.positions]
        flags = {"tv": marks}
        rows = [
            row
            for method, (image, solution) in images.items()
            for row in _rows(context, condition, batch, method, image, solution, flags.get(method))
        ]
        pictured = y.ndim == 4 and y.shape[1] in (1, 3)
        tensors = zip(batch.names, batch.images, y if pictured else back, strict=True)
        pairs = zip(tensors, zip(baseline, ours.image, strict=True), strict=True)
        return rows, [Example(condition, *seen, pictured, *found) for seen, found in pairs]

    def _other_counts(
        self, reconstructor: Reconstructor, case: Case
    ) -> Iterator[tuple[int, Solution]]:
        """The same network with other numbers of iterations."""
        model = self._unfolded(reconstructor)
        if model is not None:
            steps = reconstructor.steps(*case)
            for count in self.iterations:
                yield count, replace(model, iterations=count).run(steps)


def _rows(
    context: Context,
    condition: Condition,
    batch: ImageBatch,
    method: str,
    image: Image,
    solution: Solution | None,
    flags: Sequence[str] | None,
) -> list[Row]:
    steps = [0] * len(batch.names)
    if solution is not None:
        steps = solution.iterations.tolist()
        flags = convergence_flags(solution) or flags
    flags = flags or [""] * len(batch.names)
    figures: Mapping[str, Tensor] = context.metrics(image, batch.images)
    return [
        Row(
            run=context.run.name,
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
