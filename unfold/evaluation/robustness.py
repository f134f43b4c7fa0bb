"""Robustness: reconstructions that assume a wrong forward model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from unfold.disk import write_text
from unfold.errors import ConfigError, listing
from unfold.evaluation.base import Context, Evaluation, convergence_flags, measure
from unfold.evaluation.mismatch import Mismatch
from unfold.evaluation.records import Matrix, to_csv, to_markdown, write_table
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

MATCHED = "matched"
"""The name of the baseline: the forward model is right."""


@dataclass(frozen=True)
class MismatchRow:
    """One metric of one image under one mismatch.

    Args:
        mismatch: its name; `matched` where there is none.
        strength: 0 where there is none.
        converged: whether the iteration reached its tolerance; empty where it has none.
        image: the name of the image.
        metric: psnr, ssim, …
        value: the figure.
    """

    mismatch: str
    strength: float
    converged: str
    image: str
    metric: str
    value: float


@dataclass(frozen=True)
class Robustness(Evaluation):
    """The operator trained on, where the reconstruction assumes another one, or other noise.

    Args:
        mismatches: by name; those that do not apply to the operator are left out, with no rows.

    Raises:
        ConfigError: there is none.
    """

    mismatches: Mapping[str, Mismatch]

    def __post_init__(self) -> None:
        if not self.mismatches:
            raise ConfigError("mismatches = {}: name at least one, or use no evaluation.")

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        draws = Draws(0, range(1))
        for mismatch in self.mismatches.values():
            strength = mismatch.strengths[0]
            assumed = mismatch.assumed(operator, strength, draws)
            if assumed is not None and mismatch.actual(physics, strength) is not None:
                return
        raise ConfigError(
            f"Robustness.mismatches: {type(physics).__name__} has nothing that "
            f"{listing(self.mismatches)} could be wrong about; choose others."
        )

    def run(self, context: Context) -> dict[str, float]:
        rows = self.sweep(context)
        return write_sweep(context.folder, rows, context.directory.name, context.trained_on)

    @torch.no_grad()
    def sweep(self, context: Context) -> list[MismatchRow]:
        """One row per image, mismatch, strength and metric; the matched ones first.

        The draws of the noise are those of the matched measurement, so that only the mismatch
        differs. A mismatch that does not apply has no rows.

        Raises:
            ConfigError: no mismatch applies.
        """
        operator = measure(
            context.physics, context.test_batches()[0], context.seed, "test"
        ).operator
        self.check(context.reconstructor, context.physics, operator)
        rows = list(_rows(context, MATCHED, 0.0, None))
        for name, mismatch in self.mismatches.items():
            for strength in mismatch.strengths:
                rows += _rows(context, name, strength, mismatch)
        return rows


def _rows(
    context: Context, name: str, strength: float, mismatch: Mismatch | None
) -> Iterator[MismatchRow]:
    physics = context.physics if mismatch is None else mismatch.actual(context.physics, strength)
    if physics is None:
        return
    for batch in context.test_batches():
        y, operator = measure(physics, batch, context.seed, "test")
        if mismatch is not None:
            draws = Draws(context.seed, batch.positions, "test").within("mismatch")
            assumed = mismatch.assumed(operator, strength, draws)
            if assumed is None:
                return
            operator = assumed
        solution = context.reconstructor.solve(y, operator)
        flags = convergence_flags(solution) or [""] * len(batch.names)
        for metric, values in context.metrics(solution.image, batch.images).items():
            for image, flag, value in zip(batch.names, flags, values.tolist(), strict=True):
                yield MismatchRow(name, strength, flag, image, metric, value)


def mean(rows: Sequence[MismatchRow], mismatch: str, strength: float, metric: str) -> float:
    """The mean over the images; NaN where this strength was not measured."""
    key = (mismatch, strength, metric)
    values = [r.value for r in rows if (r.mismatch, r.strength, r.metric) == key]
    return sum(values) / len(values) if values else float("nan")


def table(rows: Sequence[MismatchRow], metric: str) -> Matrix:
    """The mean of a metric by mismatch and strength, 0 being the matched baseline."""
    strengths = sorted({row.strength for row in rows})
    names = [n for n in dict.fromkeys(row.mismatch for row in rows) if n != MATCHED]
    cells = [tuple(mean(rows, n if s else MATCHED, s, metric) for s in strengths) for n in names]
    columns = tuple(f"{s:g}" for s in strengths)
    return Matrix(f"{metric}: mismatch \\ strength", tuple(names), columns, tuple(cells))


def write_sweep(
    directory: Path, rows: Sequence[MismatchRow], run: str, trained_on: str
) -> dict[str, float]:
    """Write the rows, the tables and the figure, and return the main figures.

    Args:
        directory: the folder, made if missing.
        rows: of `Robustness.sweep`.
        run: the name of the run.
        trained_on: the name of the physics that the network was trained on.
    """
    from unfold.evaluation.figures import robustness_figure  # imports Matplotlib

    columns = ["run", "trained_on", *(f.name for f in fields(MismatchRow))]
    origin = {"run": run, "trained_on": trained_on}
    lines = (origin | asdict(row) | {"value": repr(row.value)} for row in rows)
    write_table(directory / "robustness.csv", columns, lines)
    found = {metric: table(rows, metric) for metric in dict.fromkeys(r.metric for r in rows)}
    text = "\n".join(to_markdown(matrix, 3) for matrix in found.values())
    write_text(directory / "robustness.md", text)
    first = next(iter(found))
    write_text(directory / f"robustness_{first}.csv", to_csv(found[first]))
    scores = {f"test/{metric}": mean(rows, MATCHED, 0.0, metric) for metric in found}
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        point = (row.strength, mean(rows, row.mismatch, row.strength, first))
        if row.mismatch != MATCHED and point not in curves.setdefault(row.mismatch, []):
            curves[row.mismatch].append(point)
    robustness_figure(curves, scores[f"test/{first}"], first, directory / "robustness.png")
    worst = {f"test/{first}, {n} {p[-1][0]:g}": p[-1][1] for n, p in curves.items()}
    return scores | worst
