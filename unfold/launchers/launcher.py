"""How the jobs of a sweep are started: one process per job, on this machine or on a cluster."""

import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from unfold.errors import ConfigError
from unfold.extras import install_command
from unfold.parameters.bounds import Declared
from unfold.runs.status import OUTCOME_VARIABLE, Outcome, read_outcome

OUTCOME, LOG, CODE = "outcome.json", "log", "code"
"""The files of a job: its result, its output, and its exit code once it has ended."""


class Job(ABC):
    """One job that was started, with the folder of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    @abstractmethod
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it waits or runs."""

    @abstractmethod
    def end(self) -> None:
        """Ask it to save and terminate, and wait."""

    @property
    def outcome(self) -> Outcome | None:
        """What it has written so far."""
        return read_outcome(self.folder / OUTCOME)

    @property
    def error(self) -> str:
        """Why it failed: its own error, that of a library, or the signal that killed it."""
        code = self.code or 0
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        log = self.folder / LOG
        text = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
        if "error: " in text:
            return text.rpartition("error: ")[2]
        _, raised, rest = text.rpartition("Traceback (most recent call last):")
        lines = [line for line in rest.splitlines() if line[:1].strip()]
        return lines[0 if raised else -1] if lines else f"exit code {code}"


class Launcher(Declared, ABC):
    """Starts jobs; each is an ordinary single run in its own process.

    Every launcher has the field `jobs`, how many run at a time.
    """

    jobs: int

    package: ClassVar[str | None] = None
    """What must be installed."""

    extra: ClassVar[str] = ""
    """The extra of unfold that installs it."""

    shared: ClassVar[bool] = False
    """Whether several machines must see the files of a job."""

    poll: ClassVar[float] = 0.1
    """Seconds between two checks of the running jobs."""

    def require(self) -> None:
        """Refuse to launch anything where the package is missing."""
        if self.package is not None and find_spec(self.package) is None:
            name = type(self).__module__.rpartition(".")[2]
            raise ConfigError(
                f"hydra/launcher = {name}: needs the package {self.package}. Write "
                f"{install_command(str(self.extra))}, or take hydra/launcher=parallel."
            )

    @abstractmethod
    def start(self, arguments: Sequence[str], folder: Path, slot: int) -> Job:
        """Start a job in one of the `jobs` places, with an empty folder for its files."""


def command(arguments: Sequence[str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """The program of a job with its arguments, and its own variables of the environment.

    It shows no progress bar unless asked, and writes its outcome into the folder.
    """
    asked = any(text.lstrip("+").startswith("trainer.progress=") for text in arguments)
    quiet = [] if asked else ["trainer.progress=false"]
    line = [sys.executable, str(Path(sys.argv[0]).absolute()), *arguments, *quiet]
    return line, {OUTCOME_VARIABLE: str(folder / OUTCOME)}
