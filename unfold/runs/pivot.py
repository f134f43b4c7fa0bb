"""A table of runs: one score over two keys of the configuration, with its spread over seeds."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from unfold.errors import ConfigError, listing
from unfold.evaluation.rows import read_rows
from unfold.runs.catalogue import Entry, flat

REPEATED = (
    "seed",
    "runs_dir",
    "rerun",
    "trust",
    "name",
    "logger",
    "data.workers",
    "trainer.threads",
)
"""Keys in which the runs of one cell may differ: they are repetitions of one another."""


TESTED = "tested_on"
"""The axis of the operators that a run was evaluated on, each with its level of noise."""


@dataclass(frozen=True)
class Scored:
    """A run with one score: of its test, or under one operator of its evaluation."""

    entry: Entry
    score: float


@dataclass(frozen=True)
class Pivot:
    """The runs of every cell.

    Args:
        rows: the key that tells the rows apart, `algo`.
        columns: the key that tells the columns apart, `physics`.
        value: the score.
        cells: the runs of a row and a column that have the score.
    """

    rows: str
    columns: str
    value: str
    cells: Mapping[tuple[str, str], Sequence[Scored]]

    def names(self, axis: int) -> list[str]:
        """The names of the rows (0) or of the columns (1), in order."""
        return sorted({cell[axis] for cell in self.cells})

    def values(self, row: str, column: str) -> list[float]:
        """The scores of one cell, each of another run."""
        return [scored.score for scored in self.cells.get((row, column), ())]

    def mixed(self) -> list[str]:
        """The keys, other than the seed, in which runs of one cell differ."""
        found: set[str] = set()
        for cell in self.cells.values():
            configs = [flat(scored.entry.config) for scored in cell]
            keys = {key for config in configs for key in config}
            found |= {k for k in keys if len({str(c.get(k)) for c in configs}) > 1}
        seeds = {key for key in found if key.endswith(".seed")}  # follow the seed of the run
        return sorted(key for key in found - seeds if not key.startswith(REPEATED))


def pivot(entries: Sequence[Entry], rows: str, columns: str, value: str) -> Pivot:
    """Sort finished runs into cells.

    Args:
        entries: the runs.
        rows: a key of their configuration, or `tested_on`: the operators of their evaluations.
        columns: the same.
        value: the score; beside `tested_on` the metric, `psnr`, averaged over the images.

    Raises:
        ConfigError: no finished run has the keys and the score.
        DataError: the rows of an evaluation are damaged.
    """
    cells: dict[tuple[str, str], list[Scored]] = {}
    for entry in entries:
        for tested, score in _scores(entry, value, across=TESTED in (rows, columns)):
            row, column = (tested if key == TESTED else entry.get(key) for key in (rows, columns))
            if row is not None and column is not None:
                cells.setdefault((row, column), []).append(Scored(entry, score))
    if not cells:
        known = sorted({key for entry in entries for key in entry.choices})
        raise ConfigError(
            f"No finished run has {rows}, {columns} and {value}. Groups: {listing(known)}; keys "
            f"are written in full, algo.stepsize; {TESTED} is for runs with an evaluation; "
            "unfold list shows the runs."
        )
    return Pivot(rows, columns, value, cells)


def _scores(entry: Entry, value: str, *, across: bool) -> list[tuple[str, float]]:
    """The score of a run, or one for every operator and noise that it was evaluated on."""
    if not across:
        score = entry.score(value)
        return [] if score is None else [("", score)]
    path = entry.path / "evaluation" / "rows.csv"
    if entry.state != "finished" or not path.exists():
        return []
    found: dict[str, list[float]] = {}
    for row in read_rows(path):
        if row.method == "ours" and row.metric == value:
            found.setdefault(f"{row.tested_on}, {row.noise}", []).append(row.value)
    return [(name, fmean(values)) for name, values in found.items()]


def interval(values: Sequence[float]) -> float | None:
    """Half the width of Student's 95 % interval of the mean; None for a single value.

    t · s/√n, t the 0.975 quantile with n − 1 degrees of freedom.
    """
    n = len(values)
    return None if n < 2 else student_quantile(0.975, n - 1) * stdev(values) / math.sqrt(n)


def student_quantile(p: float, degrees: int) -> float:
    """The quantile of Student's distribution, by bisection, for p in (1/2, 1)."""
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < p:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < p else (low, middle)
    return high


def student_cdf(t: float, degrees: int) -> float:
    """The probability of a value below t, t ≥ 0, as a finite sum over the degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, equations 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 0.5 + within / 2


def text_of(values: Sequence[float]) -> str:
    """Mean ± interval, and over how many runs; empty without a run."""
    if not values:
        return ""
    half = interval(values)
    mean = fmean(values)
    return f"{mean:.2f}" if half is None else f"{mean:.2f} ± {half:.2f} ({len(values)})"


def grid(table: Pivot) -> list[list[str]]:
    """The lines of the table as text, the head first."""
    columns = table.names(1)
    head = [f"{table.rows} \\ {table.columns}", *columns]
    lines = [[r, *(text_of(table.values(r, c)) for c in columns)] for r in table.names(0)]
    return [head, *lines]


def markdown(table: Pivot) -> str:
    """The table in Markdown."""
    head, *lines = grid(table)
    rule = ["---", *("---:" for _ in head[1:])]
    rows = [head, rule, *lines]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows)


def latex(table: Pivot) -> str:
    """The table in LaTeX, with the rules of booktabs."""
    head, *lines = grid(table)
    head[0] = table.rows
    head, *lines = [[_escaped(cell) for cell in row] for row in (head, *lines)]
    body = [" & ".join(row) + r" \\" for row in lines]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _escaped(cell: str) -> str:
    for symbol in "_%&#":
        cell = cell.replace(symbol, f"\\{symbol}")
    return cell.replace("±", r"$\pm$")


def csv_text(table: Pivot) -> str:
    """One line for each cell: its mean, half its interval, and the number of runs, in full."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([table.rows, table.columns, table.value, "interval", "runs"])
    for row, column in sorted(table.cells):
        values = table.values(row, column)
        half = interval(values)
        writer.writerow([row, column, fmean(values), "" if half is None else half, len(values)])
    return file.getvalue().rstrip("\n")
