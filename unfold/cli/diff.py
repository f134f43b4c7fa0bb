"""`unfold diff A B`: the differences of two runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unfold.cli.console import say, short, table
from unfold.cli.list_runs import RUNS_DIR
from unfold.config.arguments import Syntax
from unfold.runs.compare import Difference, compare
from unfold.runs.reference import read_reference

SYNTAX = Syntax(
    "diff",
    "The differences of two runs in configuration, code, environment and results.",
    ("A", "B"),
    RUNS_DIR,
    overrides=False,
)


def diff_runs(arguments: Sequence[str]) -> int:
    """Show the differences of two runs in configuration, code, environment and results."""
    given = SYNTAX.parse(arguments)
    one, other = (read_reference(name, given.runs_dir).path for name in given.names)
    show_differences(compare(one, other), one, other)
    return 0


def show_differences(found: Mapping[str, Sequence[Difference]], one: Path, other: Path) -> None:
    """A table for each section; a section without differences is named as the same."""
    for section, differences in found.items():
        if differences:
            table(section, ("", short(one), short(other)), [list(row) for row in differences])
        else:
            say(f"{section}: the same")
