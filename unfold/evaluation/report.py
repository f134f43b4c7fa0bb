"""The files of an evaluation: rows, tables, figures."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import isnan
from pathlib import Path
from typing import Any

from unfold.disk import write_text
from unfold.evaluation import figures, records
from unfold.evaluation.base import Context, Shown
from unfold.evaluation.metrics import higher_is_better
from unfold.evaluation.records import (
    MARKS,
    UNTUNED,
    Matrix,
    Row,
    common,
    competitive,
    mean,
    pivot,
    undefined,
)
from unfold.evaluation.shown import NUMBERS, Views, views, write_pictures
from unfold.evaluation.single_image import follow
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.parameters.group import groups_of


def label(row: Row) -> str:
    """The name of a condition: the operator and its noise."""
    return f"{row.tested_on} ({row.noise})"


def write_report(
    context: Context, rows: Sequence[Row], examples: Sequence[Shown], images: int
) -> dict[str, float]:
    """Write all files, each atomically, and return the main figures.

    The gallery shows the first `images` of the operator trained on.
    """
    folder, reconstructor = context.folder, context.reconstructor
    records.write_rows(folder / "rows.csv", rows)
    kept, absent = common(rows)
    notes = left_out(absent, headline(rows))
    others = dict.fromkeys((row.tested_on, row.start) for row in rows if row.start)
    notes += [
        f"{where}: ours starts from {start}, as its own start is not made for it."
        for where, start in others
    ]
    if context.data.measured:
        notes.append(f"compared with: {context.data.truth or 'no true image, the measurement'}.")
    if context.data.measured or context.metrics.data_range != 1:
        notes.append(context.metrics.note)
    further = context.metrics.extra.get(headline(rows))
    table = methods_table(kept, further)
    methods = replace(table, notes=(*marks(rows), *table.notes, *notes))
    write_text(folder / "methods.md", records.to_markdown(methods))
    ours = [row for row in kept if row.method == "ours"]
    matrix = pivot(ours, lambda row: row.trained_on, label, headline(rows))
    write_tables(folder, "matrix", replace(matrix, notes=(*marks(ours), *notes)))
    values = reconstructor.parameter_values().items()
    scalars = (pair for pair in values if not pair[0].startswith("physics."))
    used = {name: value for name, value in scalars if name not in reconstructor.dead}
    figures.parameters_figure(used, folder / "parameters.png")
    curves = [curve for _, group in groups_of(reconstructor) for curve in group.curves()]
    figures.conditions_figure(curves, folder / "conditions.png")
    drawn = marks([row for row in rows if row.method in figures.DRAWN])
    figures.operators_figure(replace(table, notes=(*drawn, *notes)), folder / "operators.png")
    kept_views: list[Views] = []
    if images and examples:
        first = examples[0].condition
        own = [views(e) for e in examples if e.condition == first][:images]
        one_each = {e.condition.name + e.condition.noise: e for e in reversed(examples)}
        others_views = [views(e) for e in reversed(one_each.values()) if e.condition != first]
        kept_views = own + others_views
        figures.gallery(own, folder / "gallery.png")
        figures.gallery([own[0], *others_views], folder / "gallery_operators.png")
    figures.training_figure(context.run / "metrics.csv", headline(rows), folder / "training.png")
    test = islice(context.data.examples("test"), images)
    traces = follow(reconstructor, context.physics, test, context.seed, context.metrics)
    model = reconstructor.model
    tolerance = model.tol if isinstance(model, DEQ | Classical) else None
    if traces:
        figures.convergence_figure(traces, folder / "convergence.png", tolerance)
    content = {
        "examples": write_pictures(folder, kept_views),
        "parameters": {name: value.flatten().cpu().tolist() for name, value in used.items()},
        "traces": [trace._asdict() for trace in traces],
        "tolerance": tolerance,
    }
    write_text(folder / NUMBERS, json.dumps(content) + "\n")
    return main_figures(rows, further)


def write_tables(folder: Path, name: str, matrix: Matrix) -> None:
    """Write a matrix in three formats."""
    write_text(folder / f"{name}.csv", records.to_csv(matrix))
    write_text(folder / f"{name}.md", records.to_markdown(matrix))
    write_text(folder / f"{name}.tex", records.to_latex(matrix))


def methods_table(rows: Sequence[Row], further: Any = None) -> Matrix:
    """The headline metric, as in `higher_is_better`, by condition and method."""
    metric = headline(rows)
    kept = competitive(rows, metric, higher=higher_is_better(metric, further))
    table = pivot(kept, label, lambda r: r.method, metric)
    gone = dict.fromkeys((r.method, label(r)) for r in rows if r not in kept)
    notes = [f"{method} on {where}: left out, as it amplifies noise." for method, where in gone]
    return replace(table, corner="psnr in dB" if metric == "psnr" else metric, notes=notes)


def main_figures(rows: Sequence[Row], further: Any = None) -> dict[str, float]:
    """The means on the operator trained on, of ours and of the baseline, and their difference.

    All are over the same images: those for which every method is defined. Images for which a
    method did not converge are counted: `test/tv not converged`.
    """
    first = [r for r in rows if r.noise == rows[0].noise and r.tested_on == rows[0].tested_on]
    kept, absent = common(first)
    ours, tv = ([r for r in kept if r.method == method] for method in ("ours", "tv"))
    scores = {f"test/{m}": mean(ours, m) for m in dict.fromkeys(r.metric for r in ours)}
    for name, method in (("not converged", "ours"), ("tv not converged", "tv")):
        stopped = {r.image for r in first if (r.method, r.converged) == (method, "False")}
        scores |= {f"test/{name}": float(len(stopped))} if stopped else {}
    metric = headline(rows)
    found = {m: names for (_, _, m), names in absent.items()}
    scores |= warn_undefined(undefined(r for r in first if r.method == "ours") | found)
    scores[f"test/tv {metric}"] = mean(tv, metric)
    gain = mean(ours, metric) - mean(tv, metric)
    higher = higher_is_better(metric, further)
    if higher is not None and not any(r.converged == UNTUNED for r in first if r.method == "tv"):
        scores["test/gain over tv"] = gain * (1 if higher else -1)
    return {name: value for name, value in scores.items() if not isnan(value)}


def warn_undefined(found: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Name the images that no mean holds, and count them: `test/nmse undefined`."""
    for metric, names in found.items():
        warnings.warn(
            f"{metric} is undefined for {len(names)} test images, which its mean leaves out: "
            f"{', '.join(names[:8])}.",
            stacklevel=2,
        )
    return {f"test/{metric} undefined": float(len(names)) for metric, names in found.items()}


def left_out(absent: Mapping[tuple[str, str, str], Sequence[str]], metric: str) -> list[str]:
    """Notes of a table: the images that its means leave out, of all methods."""
    found = {(where, noise): names for (where, noise, m), names in absent.items() if m == metric}
    return [
        f"{where} ({noise}): without {', '.join(names)}, whose {metric} is undefined for some "
        "method."
        for (where, noise), names in found.items()
    ]


def marks(rows: Sequence[Row]) -> list[str]:
    """Notes of a table: whose figures are not those of a limit, or not of a tuned one."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.converged in MARKS:
            found.setdefault((row.method, MARKS[row.converged]), {})[label(row)] = row
    return [f"{method} on {', '.join(where)}: {what}." for (method, what), where in found.items()]


def headline(rows: Sequence[Row]) -> str:
    """The metric of tables and figures: psnr, or the first one where it was not measured."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    return "psnr" if "psnr" in metrics else metrics[0]
