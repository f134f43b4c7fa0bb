"""Output for the user: lines, errors without traceback, and tables of results.

Data is never markup here, and never forges a line: control characters, line breaks and surrogates
are shown as escapes, and so is what the encoding of the terminal lacks.
"""

import io
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import walk_tb
from typing import Any

from unfold.config.targets import Own
from unfold.errors import RunError, UnfoldError, visible

INTERRUPTED = 130

CLOSED_PIPE = 141
"""The exit code of a process that wrote into a closed pipe, as a shell gives it."""

NARROW = 12
"""Characters of a column that a table keeps in a terminal that is too narrow: its lines wrap."""


class Output:
    """A stream to which every text can be written, whatever its encoding, and wherever it ends.

    A stream that cannot be written, as on a full disk, takes everything and keeps the reason.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream or io.StringIO()  # None where it was closed
        self.failure: Exception | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write a text, with escapes for what the encoding lacks."""
        with self._kept():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._kept():
            self.stream.flush()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.failure = error
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guarded(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command; report its error without a traceback, and return the exit code.

    UNFOLD_DEBUG=1 shows the traceback instead. Warnings are written without the line of code that
    raised them, and once where only their figures differ.
    """
    for descriptor in range(3):
        with suppress(OSError):  # where one is closed, a file of the run must not get its number
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)
    formatter, streams = WarningFormatter(), (sys.stdout, sys.stderr)
    before, warnings.formatwarning = warnings.formatwarning, formatter
    out, err = (Output(stream) for stream in streams)
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        code = _reported(command, arguments)
        formatter.report_repeated()
        out.flush()
        if out.failure is not None:
            text = f"standard output cannot be written: {out.failure}. Its rest is lost."
            code = code or _failed(RunError(text), RunError.exit_code, text)
        err.flush()
        return code
    except BrokenPipeError:
        for descriptor in (1, 2):  # the interpreter flushes its streams at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        return CLOSED_PIPE
    finally:
        warnings.formatwarning = before
        sys.stdout, sys.stderr = streams


def _reported(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        return command(arguments)
    except UnfoldError as error:
        return _failed(error, error.exit_code, *error.lines)
    except SystemExit as done:
        if done.code not in (None, 0):
            raise
        return 0  # --help
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as error:
        return _failed(error, INTERRUPTED, "interrupted.")
    except Exception as error:
        hint = "This is unexpected: UNFOLD_DEBUG=1 shows where it happened."
        for frame, line in walk_tb(error.__traceback__):
            code = frame.f_code
            if frame.f_globals.get("__name__", "").partition(".")[0] in Own.folders:
                hint = f"It is in {code.co_qualname} of yours: {code.co_filename}, line {line}."
        return _failed(error, 1, described(error), hint)


def described(error: BaseException) -> str:
    """The class and the text of an error of another library, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class WarningFormatter:
    """Writes each warning once, and counts those that differ from it in figures only."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def __call__(self, message: Warning | str, *_: object, **__: object) -> str:
        kind = re.sub(r"\d[\d.e+-]*", "#", str(message))
        self.times[kind] += 1
        self.first.setdefault(kind, visible(str(message)))
        return f"warning: {visible(str(message))}\n" if self.times[kind] == 1 else ""

    def report_repeated(self) -> None:
        """Write how often each warning was repeated."""
        for kind, times in self.times.items():
            if times > 1:
                note(f"warning: {times - 1} more, with these or other figures: {self.first[kind]}")


def _failed(error: BaseException, code: int, *lines: str) -> int:
    if os.environ.get("UNFOLD_DEBUG") == "1":
        raise error
    say_error(*lines)
    return code


def say(text: str) -> None:
    """A line for the user."""
    _write(sys.stdout, visible(text))


def say_text(text: str) -> None:
    """Several lines that hold no data, or data that is escaped as its format wants it."""
    _write(sys.stdout, text)


def note(text: str) -> None:
    """A line for the user next to an output that a program reads."""
    _write(sys.stderr, visible(text))


def say_error(*lines: str) -> None:
    """An error for the user; the lines after the first are indented."""
    _write(sys.stderr, "error: " + "\n  ".join(map(visible, lines)))


def _write(stream: Any, text: str) -> None:
    stream.write(f"{text}\n")
    stream.flush()


def short(path: Path) -> str:
    """A path as the user would type it from here."""
    here = Path.cwd().resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; the first column is left-aligned, the others right-aligned.

    In a file it is as wide as it needs to be; a terminal that is narrower folds its cells.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    from unfold.evaluation.records import Bold

    def plain(text: str) -> Text:
        # A string would be read as markup.
        return Text(visible(text), style="bold" if isinstance(text, Bold) else "")

    grid = Table(title=None if title is None else plain(title), title_justify="left")
    for i, name in enumerate(columns):
        grid.add_column(plain(name), justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*map(plain, row))
    console = Console()
    widest = Measurement.get(console, console.options.update(width=10_000), grid).maximum
    least = min(widest, NARROW * len(columns)) if console.is_terminal else widest
    console.width = max(console.width, least)
    console.print(grid, crop=False)


def scores_table(scores: Mapping[str, float]) -> None:
    """A table of scores by name; nothing where there are none."""
    if scores:
        table(None, ("score", "value"), [(name, f"{value:.4g}") for name, value in scores.items()])
