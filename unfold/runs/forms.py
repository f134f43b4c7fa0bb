"""The forms of a table of runs: text, Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Sequence
from statistics import fmean

from unfold.runs.pivot import Pivot
from unfold.runs.spread import interval


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
    """The table in Markdown, under its title."""
    head, *lines = grid(table)
    rule = ["---", *("---:" for _ in head[1:])]
    rows = [head, rule, *lines]
    cells = ("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows)
    return "\n".join([f"**{table.title}**", "", *cells])


def latex(table: Pivot) -> str:
    """The table in LaTeX, with the rules of booktabs."""
    head, *lines = grid(table)
    head[0] = table.rows
    head, *lines = [[_escaped(cell) for cell in row] for row in (head, *lines)]
    width = len(head)
    body = [" & ".join(row) + r" \\" for row in lines]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
            r"\toprule",
            rf"\multicolumn{{{width}}}{{l}}{{{_escaped(table.title)}}} \\",
            r"\midrule",
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
