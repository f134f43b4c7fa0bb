"""`unfold table [GLOB] --rows algo --cols physics --value psnr`: runs beside one another."""

import sys
from collections.abc import Iterator, Sequence

from unfold.cli.arguments import run_words
from unfold.cli.console import say, table
from unfold.errors import ConfigError, listing, nearest
from unfold.runs.catalogue import catalogue
from unfold.runs.table import Pivot, csv_text, grid, latex, markdown, pivot

FORMATS = {"markdown": markdown, "latex": latex, "csv": csv_text}
"""How a table can be written, beside that of the terminal."""


def runs_table(words: Sequence[str]) -> int:
    """Show one score of many runs: mean ± standard deviation over the runs of each cell.

    Raises:
        ConfigError: a flag or format that does not exist, or no run to show.
        RunError: a file of a run is damaged.
    """
    typed = run_words("table", words, ("rows", "cols", "value", "format"))
    typed.only_runs_dir("table")
    if len(typed.names) > 1:
        raise ConfigError(
            f"unfold table takes one pattern, got {' '.join(typed.names)}. Put it in quotes."
        )
    chosen = typed.flags.get("format", "terminal")
    if chosen not in ("terminal", *FORMATS):
        known = ("terminal", *FORMATS)
        raise ConfigError(f"--format {chosen}{nearest(chosen, known)} Allowed: {listing(known)}.")
    found = pivot(
        catalogue(typed.runs_dir, *typed.names),
        typed.flags.get("rows", "algo"),
        typed.flags.get("cols", "physics"),
        typed.flags.get("value", "psnr"),
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
    """What the numbers do not say."""
    mixed = found.mixed()
    if mixed:
        yield f"note: runs of one cell differ in more than the seed: {_some(mixed)}."
    for reason, names in found.left_out.items():
        yield f"note: left out, {reason} ({len(names)}): {_some(names)}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
