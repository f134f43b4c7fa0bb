"""`unfold diff A B`: what two runs have apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unfold.cli.arguments import expect, run_words
from unfold.cli.console import say, short, table
from unfold.runs.compare import Difference, compare
from unfold.runs.reference import read_reference


def diff_runs(words: Sequence[str]) -> int:
    """Show the differences of two runs in configuration, code, environment and results.

    Raises:
        ConfigError: a run does not exist.
        RunError: a file of a run is missing or damaged.
    """
    typed = run_words("diff", words)
    typed.only_runs_dir("diff")
    expect("diff", typed.names, "two runs, unfold diff A B", 2)
    one, other = (read_reference(name, typed.runs_dir).path for name in typed.names)
    show_differences(compare(one, other), one, other)
    return 0


def show_differences(found: Mapping[str, Sequence[Difference]], one: Path, other: Path) -> None:
    """A table for each section; a section without differences is named as the same."""
    for section, differences in found.items():
        if differences:
            table(section, ("", short(one), short(other)), [list(row) for row in differences])
        else:
            say(f"{section}: the same")
