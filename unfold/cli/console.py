"""Output for the user: errors without traceback, and tables of results."""

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from unfold.errors import UnfoldError

INTERRUPTED = 130

CLOSED_PIPE = 141
"""The exit code of a process that wrote into a closed pipe, as a shell gives it."""


def guarded(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command; report its error without a traceback, and return the exit code.

    UNFOLD_DEBUG=1 shows the traceback instead. Warnings are written without the line of code that
    raised them, and once where only their figures differ.
    """
    formatter = WarningFormatter()
    before, warnings.formatwarning = warnings.formatwarning, formatter
    try:
        try:
            return command(arguments)
        finally:
            formatter.report_repeated()
    except UnfoldError as error:
        return _failed(str(error), error.exit_code, error)
    except SystemExit as done:
        if done.code not in (None, 0):
            raise
        return 0  # --help
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # the interpreter flushes its streams at exit
        os.dup2(null, 2)
        return CLOSED_PIPE
    except KeyboardInterrupt as error:
        return _failed("interrupted.", INTERRUPTED, error)
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        hint = "This is unexpected: UNFOLD_DEBUG=1 shows where it happened."
        return _failed(f"{text}\n{hint}", 1, error)
    finally:
        warnings.formatwarning = before


class WarningFormatter:
    """Writes each warning once, and counts those that differ from it in figures only."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def __call__(self, message: Warning | str, *_: object, **__: object) -> str:
        kind = re.sub(r"\d[\d.e+-]*", "#", str(message))
        self.times[kind] += 1
        self.first.setdefault(kind, str(message))
        return f"warning: {message}\n" if self.times[kind] == 1 else ""

    def report_repeated(self) -> None:
        """Write how often each warning was repeated."""
        for kind, times in self.times.items():
            if times > 1:
                text = f"{times - 1} times more, with other figures: {self.first[kind]}"
                sys.stderr.write(f"warning: {text}\n")


def _failed(text: str, code: int, error: BaseException) -> int:
    if os.environ.get("UNFOLD_DEBUG") == "1":
        raise error
    say_error(text)
    return code


def say(text: str) -> None:
    """A line for the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def short(path: Path) -> str:
    """A path as the user would type it from here."""
    here = Path.cwd().resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def say_error(text: str) -> None:
    """An error for the user."""
    sys.stderr.write(f"error: {text}\n")
    sys.stderr.flush()


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; the first column is left-aligned, the others right-aligned.

    In a file it is as wide as it needs to be; a terminal that is narrower folds its cells.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    grid = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        grid.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console = Console()
    unbounded = console.options.update(width=10_000)
    if not console.is_terminal:
        console.width = max(console.width, Measurement.get(console, unbounded, grid).maximum)
    console.print(grid)


def scores_table(scores: Mapping[str, float]) -> None:
    """A table of scores by name; nothing where there are none."""
    if scores:
        table(None, ("score", "value"), [(name, f"{value:.4g}") for name, value in scores.items()])
