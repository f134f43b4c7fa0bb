"""Evaluation across operators, noise levels and iteration counts, compared with baselines."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from unfold.errors import ConfigError, IncompatibleError
from unfold.evaluation.base import (
    Condition,
    Context,
    Evaluation,
    ImageBatch,
    NoEvaluation,
    Result,
    Shown,
    measure,
    reconstruct,
    rows_of,
    solved,
)
from unfold.evaluation.baselines import Baselines, TunedTV, Weighted
from unfold.evaluation.records import UNTUNED, Row
from unfold.models.unfolded import Unfolded
from unfold.parameters.bounds import bounded, nonnegative, whole
from unfold.physics.base import Physics
from unfold.physics.noise.base import sigma_of, with_sigma
from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor


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
        self._expect_tied(reconstructor)

    def _expect_tied(self, reconstructor: Reconstructor) -> None:
        untied = reconstructor.algo.varies or reconstructor.prior.varies
        if self.iterations and (untied or not isinstance(reconstructor.model, Unfolded)):
            raise ConfigError(
                f"AcrossOperators.iterations = {list(self.iterations)}: only a tied unfolded "
                "network can be run with other numbers of iterations; set iterations=[]."
            )

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

        self._expect_tied(context.reconstructor)
        data, cache = context.data, context.run.parents[1] / ".cache"
        held = data.examples("validation"), data.examples("test")
        baselines = Baselines(
            self.tv, *held, data.fingerprint(), context.seed, cache, data.multiple
        )
        rows: list[Row] = []
        examples: list[Shown] = []
        with Progress(transient=True, disable=not context.progress) as bar:
            wanted = self.conditions(context.physics, context.trained_on)
            if data.measured:  # of other operators there is no measurement
                wanted = [wanted[0]._replace(noise="as measured")]
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
    ) -> tuple[list[Row], list[Shown]]:
        case = measure(condition.physics, batch, context.seed, "test")
        y, operator, _ = case
        ours = reconstruct(context, condition, batch, case)
        baseline = torch.stack([tv.images[i] for i in batch.positions])
        back, linear = operator.back_project(y), operator.linear_baseline(y)
        none, empty = [0] * len(y), [""] * len(y)
        marks = [str(tv.converged[i]) if tv.tuned else UNTUNED for i in batch.positions]
        results = {
            "back_projection": Result(back, none, empty),
            linear.method: Result(linear.image, none, empty),
            "tv": Result(baseline, none, marks),
            "ours": ours,
        }
        for n in self.iterations:
            other = context.reconstructor.solve(y, operator, noise_level=case[2], iterations=n)
            results[f"ours, {n} iterations"] = solved(other)
        rows = rows_of(context, condition, batch, case, results)
        pictured, known = y.ndim == 4 and y.shape[1] in (1, 3), batch.images
        seen, scores = (y if pictured else back), torch.full((2, len(y)), torch.nan)
        if known is not None:
            both, maximum = (baseline, ours.image), batch.examples.maximum
            scores = torch.stack([context.metrics.psnr(x, known, maximum) for x in both])
        return rows, [
            Shown(
                condition=condition,
                name=name,
                truth=None if known is None else known[i],
                measurement=seen[i],
                pictured=pictured,
                baseline=baseline[i],
                ours=ours.image[i],
                flags=(marks[i], ours.flags[i]),
                psnr=(float(scores[0, i]), float(scores[1, i])),
            )
            for i, name in enumerate(batch.names)
        ]
