"""Evaluation across operators, noise levels and iteration counts, compared with baselines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from unfold.errors import ConfigError, IncompatibleError, listing, nearest
from unfold.evaluation.base import (
    Case,
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
from unfold.evaluation.baselines import TUNED, Baselines, TunedTV, Weighted, content
from unfold.evaluation.records import UNTUNED, Row
from unfold.models.unfolded import Unfolded
from unfold.parameters.bounds import bounded, nonnegative, whole
from unfold.physics.base import Physics
from unfold.physics.levels import level_names, scaled, shown_level
from unfold.physics.noise.base import sigma_of, with_sigma
from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor

FORMULAS = ("back_projection", "zero_filled", "linear")
"""Baselines without a parameter: A*y, its name in magnetic resonance, and the operator's own."""

MANY, MOST = 30, 300
"""Conditions above which their number is printed first, and above which none is evaluated."""


def distinct(conditions: Iterable[Condition]) -> list[Condition]:
    """The conditions without those that equal one before, whatever they are called."""
    found: dict[str, Condition] = {}
    for one in conditions:
        found.setdefault(repr(content(one.physics)), one)
    return list(found.values())


def around(physics: Physics, name: str) -> Iterator[Condition]:
    """The variants of a forward model, and the model itself at half and at twice its noise."""
    for text, other in physics.variants().items():
        yield Condition(f"{name} with {text}", "as trained", other)
    for level in level_names(physics.noise)[:1]:
        value = getattr(physics.noise, level)
        known = value is not None and not isinstance(value, str | Tensor)
        for factor in (0.5, 2.0) if known else ():
            with suppress(ConfigError):
                changed = scaled(value, factor)
                noisy = physics.with_noise(physics.noise.with_level(changed))
                yield Condition(name, f"{level} {shown_level(changed)}", noisy)


@dataclass(frozen=True)
class AcrossOperators(Evaluation):
    """Every operator at every noise level, and the operator trained on at its own.

    Args:
        operators: by name; the names are the columns of the matrix.
        noise_levels: given to the noise of each operator.
        tv: how baselines are tuned.
        iterations: further iteration counts of a tied unfolded network.
        gallery: how many images of the operator trained on are shown.
        by_physics: whether the operators are for physics of photographs only; any other is tested
            on its `variants`, and at half and twice its noise.
        baselines: what is compared with: back_projection, zero_filled, linear, tv, wiener,
            cg_sense. None for those of the physics trained on, or `Physics.baselines`.
    """

    operators: Mapping[str, Physics]
    noise_levels: tuple[float, ...] = bounded((0.02, 0.05), nonnegative)
    tv: TunedTV = TunedTV()
    iterations: tuple[int, ...] = bounded((), whole(1))
    gallery: int = bounded(2, whole(0), "in images")
    by_physics: bool = True
    baselines: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.baselines or ():
            if name not in (known := (*FORMULAS, *TUNED)):
                raise ConfigError(
                    f"baselines = {list(self.baselines or ())}: unknown baseline '{name}'"
                    f"{nearest(name, known)} Available: {listing(known)}."
                )

    def forward_models(self, physics: Physics) -> Mapping[str, Physics]:
        if self._own(physics):
            return {f"physics, {text}": one for text, one in physics.variants().items()}
        return {f"evaluation.operators.{name}": one for name, one in self.operators.items()}

    def _own(self, physics: Physics) -> bool:
        """Whether a physics is tested on variants of itself."""
        return self.by_physics and not physics.photographic

    def _compared(self, physics: Physics) -> tuple[str, ...]:
        """The names of the baselines of every condition."""
        of = physics if self.by_physics else Physics
        return of.baselines if self.baselines is None else tuple(self.baselines)

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        for tested in (physics, *self.forward_models(physics).values()):
            if self._compared(physics) and type(tested).observe is not Physics.observe:
                raise IncompatibleError(
                    "{evaluation}: {physics} measures amplitudes, and the baselines "
                    "(back-projection, pseudo-inverse, total variation) need linear measurements. "
                    "Use {instead}.",
                    evaluation=AcrossOperators,
                    physics=type(tested),
                    instead=NoEvaluation,
                )
        self._expect_tied(reconstructor)
        if (count := len(self.conditions(physics, ""))) > MOST:
            raise ConfigError(
                f"AcrossOperators: {count} conditions, of at most {MOST}, each with all test images"
                " and its own tuned baselines. Give fewer operators or noise_levels."
            )

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
        No condition is there twice.
        """
        found = [Condition(trained_on, "as trained", physics)]
        if self._own(physics):
            return distinct([*found, *around(physics, trained_on)])
        for name, tested in self.operators.items():
            if sigma_of(tested.noise) is None:
                found.append(Condition(name, "its own", tested))
                continue
            for level in self.noise_levels:
                noisy = tested.with_noise(with_sigma(tested.noise, level))
                found.append(Condition(name, f"{level:g}", noisy))
        return distinct(found)

    def run(self, context: Context) -> dict[str, float]:
        from rich.progress import Progress

        from unfold.evaluation.cost import write_cost
        from unfold.evaluation.report import write_report

        self._expect_tied(context.reconstructor)
        data, cache = context.data, context.run.parents[1] / ".cache"
        held = data.examples("validation"), data.examples("test")
        baselines = Baselines(
            self.tv, *held, data.fingerprint(), context.seed, cache, data.multiple, context.anchor
        )
        names = self._compared(context.physics)
        rows: list[Row] = []
        examples: list[Shown] = []
        with Progress(transient=True, disable=not context.progress) as bar:
            wanted = self.conditions(context.physics, context.trained_on)
            if data.measured:  # of other operators there is no measurement
                wanted = [wanted[0]._replace(noise="as measured")]
            if len(wanted) > MANY:
                bar.console.print(f"{len(wanted)} conditions of {len(held[1])} images each")
            for condition in bar.track(wanted, description="evaluating"):
                tuned = {n: baselines.tuned(n, condition.physics) for n in names if n in TUNED}
                for batch in context.test_batches():
                    new, shown = self._one_batch(context, condition, batch, tuned, names)
                    rows += new
                    examples += shown
                if context.progress and not bar.console.is_terminal:
                    bar.console.print(f"evaluated on {condition.name}, noise {condition.noise}")
        for batch in islice(context.test_batches(), 1):
            write_cost(context, wanted[0], batch)
        return write_report(context, rows, examples, self.gallery)

    @torch.no_grad()
    def _one_batch(
        self,
        context: Context,
        condition: Condition,
        batch: ImageBatch,
        tuned: Mapping[str, Weighted],
        names: Sequence[str],
    ) -> tuple[list[Row], list[Shown]]:
        case = measure(condition.physics, batch, context.seed, "test")
        y, operator, _ = case
        results = dict(compared(case, batch.positions, tuned, names))
        ours = results["ours"] = reconstruct(context, condition, batch, case)
        for n in self.iterations:
            other = context.reconstructor.solve(y, operator, noise_level=case[2], iterations=n)
            results[f"ours, {n} iterations"] = solved(other)
        rows = rows_of(context, condition, batch, case, results)
        best = next((n for n in reversed(names) if n in tuned), None)
        beside = results[best] if best else None
        pictured, known = y.ndim == 4 and y.shape[1] in (1, 3), batch.images
        observed = type(condition.physics).observe is not Physics.observe
        seen = y if pictured or observed else operator.back_project(y)
        scores = torch.full((2, len(y)), torch.nan)
        if known is not None:
            maximum = batch.examples.maximum
            for score, one in zip(scores, (beside, ours), strict=True):
                if one is not None:
                    score.copy_(context.metrics.psnr(one.image, known, maximum).cpu())
        return rows, [
            Shown(
                condition=condition,
                name=name,
                truth=None if known is None else known[i].cpu(),
                measurement=seen[i].cpu(),
                pictured=pictured,
                baseline=None if beside is None else beside.image[i].cpu(),
                method=best or "",
                ours=ours.image[i].cpu(),
                flags=(beside.flags[i] if beside else "", ours.flags[i]),
                psnr=(float(scores[0, i]), float(scores[1, i])),
            )
            for i, name in enumerate(batch.names)
        ]


def compared(
    case: Case, positions: Sequence[int], tuned: Mapping[str, Weighted], names: Sequence[str]
) -> Iterator[tuple[str, Result]]:
    """The baselines of a batch, each with the name that it has in a table."""
    y, operator, _ = case
    none, empty = [0] * len(y), [""] * len(y)
    for name in names:
        if name in tuned:
            found = tuned[name]
            image = torch.stack([found.images[i] for i in positions]).to(y.device)
            marks = [str(found.converged[i]) if found.tuned else UNTUNED for i in positions]
            yield name, Result(image, none, marks)
        elif name == "linear":
            linear = operator.linear_baseline(y)
            yield linear.method, Result(linear.image, none, empty)
        else:
            yield name, Result(operator.back_project(y), none, empty)
