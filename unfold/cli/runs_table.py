"""`unfold table [GLOB] --rows algo --cols physics --value psnr`: one score of many runs."""

import sys
from collections.abc import Iterator, Sequence

from unfold.cli.console import say, table
from unfold.cli.list_runs import RUNS_DIR
from unfold.config.arguments import Syntax
from unfold.errors import ConfigError, listing, nearest
from unfold.runs.catalogue import catalogue
from unfold.runs.table import Pivot, csv_text, grid, latex, markdown, pivot

FORMATS = {"markdown": markdown, "latex": latex, "csv": csv_text}
"""How a table can be written, in addition to that of the terminal."""

SYNTAX = Syntax(
    "table",
    "One score of many runs over two keys: mean ± standard deviation of the runs in each cell.",
    ("[GLOB]",),
    RUNS_DIR,
    {
        "--rows": "the key of the rows; algo by default",
        "--cols": "the key of the columns; physics by default",
        "--value": "the score, or the end of its name; psnr by default",
        "--format": "terminal, markdown, latex or csv",
    },
    overrides=False,
)


def runs_table(arguments: Sequence[str]) -> int:
    """Show one score of many runs: mean ± standard deviation over the runs of each cell."""
    given = SYNTAX.parse(arguments)
    chosen = given.flags.get("--format", "terminal")
    if chosen not in ("terminal", *FORMATS):
        known = ("terminal", *FORMATS)
        raise ConfigError(f"--format {chosen}{nearest(chosen, known)} Allowed: {listing(known)}.")
    found = pivot(
        catalogue(given.runs_dir, *given.names),
        given.flags.get("--rows", "algo"),
        given.flags.get("--cols", "physics"),
        given.flags.get("--value", "psnr"),
    )
    _show(found, chosen)
    return 0


def _show(found: Pivot, chosen: str) -> None:
    if chosen == "terminal":
        head, *lines = grid(found)
        table(found.title, head, lines)
    else:
        say(FORMATS[chosen](found))
    for note in _notes(found):
        # What is pasted into a paper or read by a program holds the table alone.
        if chosen == "terminal":
            say(note)
        else:
            sys.stderr.write(f"{note}\n")


def _notes(found: Pivot) -> Iterator[str]:
    """What the numbers do not show."""
    mixed = found.mixed()
    if mixed:
        yield f"note: runs of one cell differ in more than the seed: {_some(mixed)}."
    for reason, names in found.left_out.items():
        yield f"note: left out, {reason} ({len(names)}): {_some(names)}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
