"""What an evaluation leaves behind: rows, tables, figures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from unfold.disk import write_text
from unfold.evaluation.figures import gallery, operators_figure, parameters_figure
from unfold.evaluation.metrics import HIGHER_IS_BETTER
from unfold.evaluation.records import (
    Matrix,
    Row,
    mean,
    pivot,
    to_csv,
    to_latex,
    to_markdown,
    write_rows,
)

if TYPE_CHECKING:
    from unfold.evaluation.pipeline import Shown


def label(row: Row) -> str:
    """The name of a condition: the operator and its noise."""
    return f"{row.tested_on} ({row.noise})"


def write_report(
    directory: Path,
    rows: Sequence[Row],
    shown: "Sequence[Shown]",
    parameters: Mapping[str, Tensor],
    images: int,
) -> dict[str, float]:
    """Write everything, each file whole or not at all, and return the main figures.

    Args:
        directory: the folder, made if missing.
        rows: one per image, method and metric.
        shown: images of every condition.
        parameters: every scalar, () or (K,).
        images: how many images the gallery of the trained operator shows.
    """
    write_rows(directory / "rows.csv", rows)
    methods = methods_table(rows)
    write_text(directory / "methods.md", to_markdown(methods))
    matrix = pivot(
        [r for r in rows if r.method == "ours"], lambda r: r.trained_on, label, headline(rows)
    )
    write_text(directory / "matrix.csv", to_csv(matrix))
    write_text(directory / "matrix.md", to_markdown(matrix))
    write_text(directory / "matrix.tex", to_latex(matrix))
    parameters_figure(parameters, directory / "parameters.png")
    operators_figure(methods, directory / "operators.png")
    if images and shown:
        first = shown[0].condition
        gallery([s for s in shown if s.condition == first][:images], directory / "gallery.png")
        one_each = {s.condition.name + s.condition.noise: s for s in reversed(shown)}
        gallery(list(reversed(one_each.values())), directory / "gallery_operators.png")
    return main_figures(rows)


def methods_table(rows: Sequence[Row]) -> Matrix:
    """The headline metric by condition and method."""
    metric = headline(rows)
    table = pivot(rows, label, lambda r: r.method, metric)
    return replace(table, corner="psnr in dB" if metric == "psnr" else metric)


def main_figures(rows: Sequence[Row]) -> dict[str, float]:
    """The figures of the operator trained on, of ours and of the baseline, and their difference."""
    first = [r for r in rows if r.noise == rows[0].noise and r.tested_on == rows[0].tested_on]
    ours = [r for r in first if r.method == "ours"]
    figures = {f"test/{m}": mean(ours, m) for m in dict.fromkeys(r.metric for r in ours)}
    metric = headline(rows)
    tv = mean([r for r in first if r.method == "tv"], metric)
    gain = (figures[f"test/{metric}"] - tv) * (1 if HIGHER_IS_BETTER.get(metric, True) else -1)
    return figures | {f"test/tv {metric}": tv, "test/gain over tv": gain}


def headline(rows: Sequence[Row]) -> str:
    """The metric that tables and figures show: psnr, or the first one where it was not measured."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    return "psnr" if "psnr" in metrics else metrics[0]
