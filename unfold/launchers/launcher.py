"""How the jobs of a sweep are started: one process, one job, on this machine or on a cluster."""

import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, NamedTuple

from unfold.errors import ConfigError
from unfold.runs.outcome import OUTCOME_VARIABLE, Outcome, read_outcome

OUTCOME, LOG, CODE = "outcome.json", "log", "code"
"""The files of a job: what it came to, what it said, and its exit code once it ended."""


class Job(ABC):
    """One job that was started.

    Args:
        folder: its files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    @abstractmethod
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it waits or runs."""

    @abstractmethod
    def end(self) -> None:
        """Ask it to save and end, and wait."""

    @property
    def outcome(self) -> Outcome | None:
        """What it has written so far."""
        return read_outcome(self.folder / OUTCOME)

    @property
    def error(self) -> str:
        """Why it failed: its own words, or the signal that killed it."""
        code = self.code or 0
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        log = self.folder / LOG
        text = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
        said = text.rpartition("error: ")[2] if "error: " in text else text
        return said or f"exit code {code}"


class Launcher(ABC):
    """Starts jobs; each is an ordinary single run in a process of its own.

    How many run at a time is the field `jobs` of every launcher.
    """

    jobs: int

    package: ClassVar[str | None] = None
    """What must be installed."""

    extra: ClassVar[str] = ""
    """The extra of unfold that installs it."""

    shared: ClassVar[bool] = False
    """Whether the files of a job must be seen by several machines."""

    poll: ClassVar[float] = 0.1
    """Seconds between two looks at the running jobs."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"jobs = {self.jobs}: must be 1 or above.")

    def require(self) -> None:
        """Refuse to launch anything where the package is missing.

        Raises:
            ConfigError: says how to install it.
        """
        if self.package is not None and find_spec(self.package) is None:
            name = type(self).__module__.rpartition(".")[2]
            raise ConfigError(
                f"hydra/launcher = {name}: needs the package {self.package}. Write pip install "
                f"'unfold[{self.extra}]', or take hydra/launcher=parallel."
            )

    @abstractmethod
    def start(self, words: Sequence[str], folder: Path, slot: int) -> Job:
        """Start a job.

        Args:
            words: of its command line, after the program.
            folder: for its files; it exists, and is empty.
            slot: which of the `jobs` places it takes.
        """


class Command(NamedTuple):
    """How a job is started.

    line: the program and its arguments.
    variables: what its environment has in addition to that of the sweep.
    """

    line: list[str]
    variables: dict[str, str]


def command(words: Sequence[str], folder: Path) -> Command:
    """The command of a job, without a progress bar that nobody sees.

    Args:
        words: that run it alone.
        folder: its files.
    """
    asked = any(word.lstrip("+").startswith("trainer.progress=") for word in words)
    line = [sys.executable, sys.argv[0], *words, *([] if asked else ["trainer.progress=false"])]
    return Command(line, {OUTCOME_VARIABLE: str(folder / OUTCOME)})
