"""`unfold report RUN ...`: runs on one page that opens without a network."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, short
from unfold.cli.reconstruct import expect_unsealed
from unfold.config.arguments import Syntax
from unfold.disk import expand, write_text
from unfold.errors import ConfigError
from unfold.runs.catalogue import MARKS, Entry, catalogue, find_runs, is_movable, locate, read_entry

SYNTAX = Syntax(
    "report",
    "One HTML page of runs: how to repeat them, scores, curves, pictures, and what failed.",
    ("RUN...",),
    {
        "output": "the file to write; report.html by default",
        "runs_dir": "the folder of all runs; runs by default",
    },
    overrides=False,
)


def write_page(arguments: Sequence[str]) -> int:
    """Write a page of runs: directories, ends of names, all of a folder, or of a pattern."""
    given = SYNTAX.parse(arguments)
    output = expand(given.keys.get("output", "report.html"), "output")
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"output = {output}: a page is expected, FILE.html.")
    expect_unsealed(output)
    entries = {
        one.path.resolve(): one for text in given.names for one in _entries(text, given.runs_dir)
    }
    size = write_report_of(list(entries.values()), output)
    say(f"wrote {short(output)}: {len(entries)} runs, {size / 1e6:.1f} MB")
    for one in entries.values():
        if one.state != "finished":
            say(f"note: {one.name}: {one.state}{one.status.reason and f', {one.status.reason}'}")
    return 0


def write_report_of(entries: Sequence[Entry], output: Path, lost: Sequence[str] = ()) -> int:
    """Write the page of runs, and of jobs without any; returns its bytes."""
    from unfold.results.page import page

    text = page(entries, lost)
    write_text(output, text)
    return len(text.encode())


def _entries(text: str, runs_dir: Path) -> list[Entry]:
    """The runs that an argument names, damaged ones too."""
    if any(c in text for c in "*?["):
        return catalogue(runs_dir, text)
    path = expand(text, "run")
    is_run = any((path / name).exists() for name in MARKS)  # one with evaluations inside, too
    if path.is_dir() and not is_run:
        own = path.resolve()
        inside = find_runs(own) or [p for p in find_runs(own.parent) if p.parent == own]
        if inside:
            return [read_entry(one, f"{one.parent.name}/{one.name}") for one in inside]
    found = locate(text, runs_dir)
    movable = is_movable(found, runs_dir)
    return [read_entry(found, f"{found.parent.name}/{found.name}", movable=movable)]
