"""Tidy results: one row per image, and the tables that are made of rows."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from math import floor, isfinite, isnan, log10, nan
from pathlib import Path
from typing import Any

from unfold.disk import write_text
from unfold.errors import DataError, visible


@dataclass(frozen=True)
class Row:
    """One metric of one image, with everything that identifies it.

    Args:
        run: the run directory's name.
        trained_on: the choice of `physics` that the network was trained on.
        tested_on: the name of the operator.
        noise: the level of the noise.
        method: `ours`, `tv`, `back_projection`, or the linear map of the operator:
            `pseudo_inverse`, `filtered_back_projection`, `gridding`.
        iterations: mean steps taken; 0 where the method does not iterate.
        converged: whether the method reached its tolerance; empty where it has none; `untuned`
            where its parameter is at an edge of what was tried.
        image: the name of the image.
        metric: psnr, ssim, …
        value: the figure.
        truth: what the image is that measured data are compared with; a file has the column where
            some row does.
        start: what the method starts from, where that is not the start of the training; likewise.
    """

    run: str
    trained_on: str
    tested_on: str
    noise: str
    method: str
    iterations: int
    converged: str
    image: str
    metric: str
    value: float
    truth: str = ""
    start: str = ""


UNTUNED = "untuned"

MARKS = {"False": "stopped, not converged", UNTUNED: "not tuned: its best weight is at an edge"}
"""What tables and figures say of the images so flagged in the column `converged`."""

COLUMNS = tuple(f.name for f in fields(Row))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, atomically; numbers keep all their digits."""
    empty = {n for n in ("truth", "start") if not any(getattr(row, n) for row in rows)}
    names = [name for name in COLUMNS if name not in empty]
    cells = (asdict(row) | {"value": text_of(row.value)} for row in rows)
    write_text(path, csv_lines([names, *([one[n] for n in names] for one in cells)], "\r\n"))


UNDEFINED = "undefined"


def rounded(value: float, like: float | None = None) -> str:
    """A figure of a table: two decimals, or as many as four significant digits need.

    Args:
        value: the figure; empty where it is undefined.
        like: a figure whose number of decimals is taken; `value` itself where it is None.
    """
    scale = abs(value if like is None else like)
    if isnan(value):
        return ""
    if scale == 0 or not isfinite(scale):
        return f"{value:.2f}"
    decimals = max(2, 3 - floor(log10(scale)))
    return f"{value:.{decimals}f}" if decimals < 9 else f"{value:.3e}"


def text_of(value: float) -> str:
    """A figure with all its digits, or the word for one that is undefined."""
    return repr(value) if isfinite(value) else UNDEFINED


def csv_lines(lines: Iterable[Sequence[Any]], end: str) -> str:
    """Lines of cells as CSV."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end).writerows(lines)
    return file.getvalue()


def read_rows(path: Path) -> list[Row]:
    """Read rows back.

    Raises:
        DataError: the file is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            found: list[dict[str, Any]] = list(reader)
        if {"start", "truth", *(reader.fieldnames or ())} != set(COLUMNS):
            raise ValueError("it has others")
        for r in found:
            r["value"] = nan if r["value"] == UNDEFINED else float(r["value"])
            r["iterations"] = int(r["iterations"])
        return [Row(**r) for r in found]
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path}: expected the columns {', '.join(COLUMNS)}; it cannot be read so ({error}). "
            "Repeat the run with rerun=true."
        ) from error


def undefined(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The names of the images for which a metric is undefined, by metric; without others."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if isnan(row.value):
            found.setdefault(row.metric, []).append(row.image)
    return found


def common(rows: Sequence[Row]) -> tuple[list[Row], dict[tuple[str, str, str], list[str]]]:
    """The rows of images for which every method is defined, by condition and metric.

    Also the names of the other images, by operator, noise and metric: no mean that is compared
    with another one holds them. A method that is defined for no image excludes none.
    """

    def place(row: Row) -> tuple[str, str, str]:
        return row.tested_on, row.noise, row.metric

    some = {(r.method, *place(r)) for r in rows if not isnan(r.value)}
    absent: dict[tuple[str, str, str], list[str]] = {}
    for r in rows:
        names = absent.setdefault(place(r), [])
        if isnan(r.value) and (r.method, *place(r)) in some and r.image not in names:
            names.append(r.image)
    kept = [r for r in rows if r.image not in absent[place(r)]]
    return kept, {at: names for at, names in absent.items() if names}


def competitive(rows: Sequence[Row], metric: str, *, higher: bool | None) -> list[Row]:
    """Without the pseudo-inverses that amplify noise to below the mere back-projection A*y.

    Where there is none, to below the black image: ‖x̂ − x‖² > ‖x‖², or a PSNR below 0 dB.
    """

    def kept(place: tuple[str, str, str]) -> bool:
        if higher is None or not place[2].endswith("pseudo_inverse"):
            return True
        own, least = found[place], found.get((*place[:2], "back_projection"), [])
        if least:
            a, b = mean(own, metric), mean(least, metric)
            return not (a < b if higher else a > b)
        return not (mean(own, "nmse") > 1 or mean(own, "psnr") < 0)

    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.tested_on, row.noise, row.method), []).append(row)
    wanted = {place for place in found if kept(place)}
    return [r for r in rows if (r.tested_on, r.noise, r.method) in wanted]


def mean(rows: Iterable[Row], metric: str) -> float:
    """The mean over the images for which the metric is defined; NaN where there are none."""
    values = [row.value for row in rows if row.metric == metric and not isnan(row.value)]
    return sum(values) / len(values) if values else nan


@dataclass(frozen=True)
class Matrix:
    """Figures by two names.

    Args:
        corner: what the lines and the columns are.
        lines: the names of the lines.
        columns: the names of the columns.
        cells: the figures, line by line.
        notes: what they do not show, which every format holds.
    """

    corner: str
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[float, ...], ...]
    notes: Sequence[str] = ()


def pivot(
    rows: Sequence[Row], line: Callable[[Row], str], column: Callable[[Row], str], metric: str
) -> Matrix:
    """The mean of a metric by two functions of a row, in the order in which names appear."""
    lines = tuple(dict.fromkeys(line(r) for r in rows))
    columns = tuple(dict.fromkeys(column(r) for r in rows))
    cells = tuple(
        tuple(mean([r for r in rows if line(r) == a and column(r) == b], metric) for b in columns)
        for a in lines
    )
    return Matrix("trained on \\ tested on", lines, columns, cells)


def _lines(matrix: Matrix, text: Callable[[float], str]) -> list[list[str]]:
    """The head, and each line with its name."""
    body = zip(matrix.lines, matrix.cells, strict=True)
    return [[matrix.corner, *matrix.columns], *([name, *map(text, cells)] for name, cells in body)]


def to_markdown(matrix: Matrix) -> str:
    """The matrix as a Markdown table, its notes below."""
    return "\n\n".join([markdown(_lines(matrix, rounded)), *matrix.notes]) + "\n"


def to_latex(matrix: Matrix) -> str:
    """The matrix as a LaTeX tabular, for `booktabs`, its notes in the last lines."""
    return latex(_lines(matrix, rounded), notes=matrix.notes) + "\n"


def to_csv(matrix: Matrix) -> str:
    """The matrix as CSV, figures with all their digits; the notes, if any, are the last column."""
    head, *lines = _lines(matrix, text_of)
    notes = ["; ".join(matrix.notes)] if matrix.notes else []
    return csv_lines([head + ["notes"][: len(notes)], *(line + notes for line in lines)], "\n")


class Bold(str):
    """A cell that stands out."""

    __slots__ = ()


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown of lines of cells, the head first."""
    head, *body = lines
    rows = (head, ["---", *("---:" for _ in head[1:])], *body)
    plain = ([(visible(c).replace("|", "\\|"), isinstance(c, Bold)) for c in row] for row in rows)
    cells = ([f"**{text}**" if bold else text for text, bold in row] for row in plain)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def latex(lines: Sequence[Sequence[str]], title: str = "", notes: Sequence[str] = ()) -> str:
    """A tabular with the rules of booktabs of lines of cells, the head first."""
    head, *body = (" & ".join(map(_in_latex, line)) + r" \\" for line in lines)
    width = len(lines[0])
    across = [rf"\multicolumn{{{width}}}{{l}}{{{_in_latex(text)}}} \\" for text in (title, *notes)]
    top = [across[0], r"\midrule"] if title else []
    below = [r"\midrule", *across[1:]] if notes else []
    begin = rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}"
    rows = [begin, r"\toprule", *top, head, r"\midrule", *body, *below, r"\bottomrule"]
    return "\n".join([*rows, r"\end{tabular}"])


def _in_latex(cell: str) -> str:
    special = {c: f"\\{c}" for c in "_%&#${}"}
    words = {"\\": r"$\backslash$", "±": r"$\pm$", "†": r"$\dagger$", "~": r"\~{}", "^": r"\^{}"}
    text = "".join({**special, **words}.get(c, c) for c in visible(cell))
    return rf"\textbf{{{text}}}" if isinstance(cell, Bold) else text
