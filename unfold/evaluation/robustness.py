"""How a reconstruction fares that is told a wrong model of the measurement."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from unfold.disk import write_text
from unfold.errors import ConfigError, listing
from unfold.evaluation.baselines import Batch
from unfold.evaluation.figures import robustness_figure
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.mismatch import Mismatch
from unfold.evaluation.records import Matrix, to_csv, to_markdown, write_table
from unfold.evaluation.settings import Robustness
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

MATCHED = "matched"
"""The name of the baseline: the model of the measurement is right."""


@dataclass(frozen=True)
class Shift:
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


@torch.no_grad()
def sweep(
    reconstructor: Reconstructor,
    test: Sequence[Batch],
    evaluation: Robustness,
    physics: Physics,
    metrics: ImageMetrics,
    seed: int,
) -> list[Shift]:
    """One row per image, mismatch, strength and metric; the matched ones first.

    The draws of the noise are those of the matched measurement, so that the mismatch alone differs.
    A mismatch that has nothing to act on has no rows.

    Raises:
        ConfigError: no mismatch has anything to act on.
    """
    wanted: list[tuple[str, float, Mismatch | None]] = [(MATCHED, 0.0, None)]
    wanted += [(n, s, m) for n, m in evaluation.mismatches.items() for s in m.strengths]
    first = test[0]
    operator = physics.measure(first.images, Draws(seed, first.positions, "test")).operator
    expect_mismatch(evaluation, physics, operator)
    return [
        row
        for name, strength, mismatch in wanted
        for row in _one(reconstructor, test, physics, metrics, seed, name, strength, mismatch)
    ]


def expect_mismatch(evaluation: Robustness, physics: Physics, operator: Operator) -> None:
    """Refuse mismatches none of which has anything to act on.

    Raises:
        ConfigError: with their names.
    """
    draws = Draws(0, range(1))
    for mismatch in evaluation.mismatches.values():
        strength = mismatch.strengths[0]
        told = mismatch.told(operator, strength, draws)
        if told is not None and mismatch.happened(physics, strength) is not None:
            return
    raise ConfigError(
        f"evaluation.mismatches: {type(physics).__name__} has nothing that "
        f"{listing(evaluation.mismatches)} could be wrong about; choose others."
    )


def _one(
    reconstructor: Reconstructor,
    test: Sequence[Batch],
    physics: Physics,
    metrics: ImageMetrics,
    seed: int,
    name: str,
    strength: float,
    mismatch: Mismatch | None,
) -> list[Shift]:
    rows: list[Shift] = []
    for batch in test:
        draws = Draws(seed, batch.positions, "test")
        law = physics if mismatch is None else mismatch.happened(physics, strength)
        if law is None:
            return []
        y, operator = law.measure(batch.images, draws)
        if mismatch is not None:
            told = mismatch.told(operator, strength, draws.within("mismatch"))
            if told is None:
                return []
            operator = told
        solution = reconstructor.solve(y, operator)
        flags = [""] * len(batch.names)
        if solution.converged is not None:
            flags = [str(flag) for flag in solution.converged.tolist()]
        for metric, values in metrics(solution.image, batch.images).items():
            for image, flag, value in zip(batch.names, flags, values.tolist(), strict=True):
                rows.append(Shift(name, strength, flag, image, metric, value))
    return rows


def mean(rows: Sequence[Shift], mismatch: str, strength: float, metric: str) -> float:
    """The mean over the images; NaN where this strength was not measured."""
    key = (mismatch, strength, metric)
    values = [r.value for r in rows if (r.mismatch, r.strength, r.metric) == key]
    return sum(values) / len(values) if values else float("nan")


def table(rows: Sequence[Shift], metric: str) -> Matrix:
    """The mean of a metric by mismatch and strength, 0 being the matched baseline."""
    strengths = sorted({row.strength for row in rows})
    names = [n for n in dict.fromkeys(row.mismatch for row in rows) if n != MATCHED]
    cells = [tuple(mean(rows, n if s else MATCHED, s, metric) for s in strengths) for n in names]
    columns = tuple(f"{s:g}" for s in strengths)
    return Matrix(f"{metric}: mismatch \\ strength", tuple(names), columns, tuple(cells))


def write_sweep(
    directory: Path, rows: Sequence[Shift], run: str, trained_on: str
) -> dict[str, float]:
    """Write the rows, the tables and the figure, and return the main figures.

    Args:
        directory: the folder, made if missing.
        rows: of `sweep`.
        run: the name of the run.
        trained_on: the physics that the network was trained on.
    """
    columns = ["run", "trained_on", *(f.name for f in fields(Shift))]
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
