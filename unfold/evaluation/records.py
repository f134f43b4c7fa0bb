"""Tidy results: one row per image, and the tables that are made of rows."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, isnan, nan
from pathlib import Path
from typing import Any

from unfold.disk import write_text
from unfold.errors import DataError


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


UNTUNED = "untuned"

COLUMNS = tuple(f.name for f in fields(Row))


@dataclass(frozen=True)
class MismatchRow:
    """One metric of one image under one mismatch of the forward model.

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


AnyRow = Row | MismatchRow


def write_rows(path: Path, rows: Sequence[AnyRow], **origin: str) -> None:
    """Write rows as CSV, atomically; numbers keep all their digits, and `origin` comes first."""
    columns = [f.name for f in fields(rows[0])] if rows else COLUMNS
    lines = (asdict(row) | {"value": text_of(row.value)} for row in rows)
    cells = ([*origin.values(), *map(line.get, columns)] for line in lines)
    write_text(path, _csv([[*origin, *columns], *cells], "\r\n"))


UNDEFINED = "undefined"


def text_of(value: float) -> str:
    """A figure with all its digits, or the word for one that is undefined."""
    return repr(value) if isfinite(value) else UNDEFINED


def _csv(lines: Iterable[Sequence[Any]], end: str) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end).writerows(lines)
    return file.getvalue()


def read_rows(path: Path) -> list[Row]:
    """Read rows back.

    Raises:
        DataError: the file is not such a table.
    """
    with path.open(newline="", encoding="utf-8") as file:
        found: list[dict[str, Any]] = list(csv.DictReader(file))
    if found and set(found[0]) != set(COLUMNS):
        raise DataError(f"{path}: expected the columns {', '.join(COLUMNS)}.")
    for r in found:
        r["value"] = nan if r["value"] == UNDEFINED else float(r["value"])
        r["iterations"] = int(r["iterations"])
    return [Row(**r) for r in found]


def undefined(rows: Iterable[AnyRow]) -> dict[str, list[str]]:
    """The names of the images for which a metric is undefined, by metric; without others."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if isnan(row.value):
            found.setdefault(row.metric, []).append(row.image)
    return found


def mean(rows: Iterable[AnyRow], metric: str) -> float:
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
    """

    corner: str
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[float, ...], ...]


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


def _lines(matrix: Matrix, text: Callable[[float], str]) -> Iterator[list[str]]:
    """The head, and each line with its name."""
    yield [matrix.corner, *matrix.columns]
    for name, cells in zip(matrix.lines, matrix.cells, strict=True):
        yield [name, *map(text, cells)]


def _rounded(matrix: Matrix, digits: int) -> Iterator[list[str]]:
    """The same with figures of so many digits, and nothing where they are undefined."""
    return _lines(matrix, lambda v: "" if isnan(v) else f"{v:.{digits}f}")


def to_markdown(matrix: Matrix, digits: int = 2) -> str:
    """The matrix as a Markdown table."""
    head, *body = _rounded(matrix, digits)
    rule = ["---", *["---:"] * len(matrix.columns)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *body))


def to_latex(matrix: Matrix, digits: int = 2) -> str:
    """The matrix as a LaTeX tabular, for `booktabs`."""

    def safe(text: str) -> str:
        return text.replace("\\", "$\\backslash$").replace("_", "\\_")

    head, *body = (" & ".join(map(safe, line)) + r" \\" for line in _rounded(matrix, digits))
    begin = rf"\begin{{tabular}}{{l{'r' * len(matrix.columns)}}}"
    lines = (begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}")
    return "\n".join(lines) + "\n"


def to_csv(matrix: Matrix) -> str:
    """The matrix as CSV, figures with all their digits."""
    return _csv(_lines(matrix, text_of), "\n")
