"""`unfold table [GLOB] --rows algo --cols physics --value psnr`: runs beside one another."""

from collections.abc import Sequence

from unfold.cli.report import say, table
from unfold.cli.run_words import run_words
from unfold.errors import ConfigError, listing, nearest
from unfold.runs.catalogue import catalogue
from unfold.runs.pivot import Pivot, csv_text, grid, latex, markdown, pivot

FORMATS = {"markdown": markdown, "latex": latex, "csv": csv_text}
"""How a table can be written, beside that of the terminal."""


def runs_table(words: Sequence[str]) -> int:
    """Show one score of many runs: its mean and 95 % interval over the runs of each cell.

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
    if chosen != "terminal":
        say(FORMATS[chosen](found))
        return
    head, *lines = grid(found)
    table(f"{found.value}: mean ± 95 % interval (runs)", head, lines)
    mixed = found.mixed()
    if mixed:
        shown = ", ".join(mixed[:8]) + (f" and {len(mixed) - 8} more" if len(mixed) > 8 else "")
        say(f"note: runs of one cell differ in more than the seed: {shown}.")
