"""Jobs through submitit, on this machine; the base of those on SLURM."""

import os
import signal
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from unfold.launchers.launcher import CODE, Job, command
from unfold.launchers.parallel import ThisMachine
from unfold.launchers.worker import Worker

PATIENCE = 120.0
"""Seconds that a job is given to save its state."""

NO_LIMIT = 60 * 24 * 365
"""Minutes: a job of this machine has no time limit, and submitit needs one."""


class SubmititJob(Job):
    """A job of submitit, whose worker writes its exit code."""

    def __init__(self, job: Any, folder: Path) -> None:
        super().__init__(folder)
        self.job = job

    @abstractmethod
    def is_over(self) -> bool:
        """Whether it has ended and will not start again."""

    @abstractmethod
    def cancel(self) -> None:
        """Ask it to terminate."""

    @property
    def written_code(self) -> int | None:
        """The exit code that the worker wrote."""
        path = self.folder / CODE
        return int(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def code(self) -> int | None:
        if not self.is_over():
            return None
        written = self.written_code
        return 1 if written is None else written

    @property
    def error(self) -> str:
        if self.written_code is None:
            return f"ended from outside: {self.job.state}"
        return super().error

    def end(self) -> None:
        if self.is_over():
            return
        self.cancel()
        until = time.monotonic() + PATIENCE
        while self.written_code is None and not self.is_over() and time.monotonic() < until:
            time.sleep(0.2)


class LocalJob(SubmititJob):
    """A job of this machine, behind a process of submitit that watches it."""

    def is_over(self) -> bool:
        return bool(self.job.done())

    def cancel(self) -> None:
        # `job.cancel()` leaves it one second to save its state.
        os.kill(int(self.job.job_id), signal.SIGTERM)

    def end(self) -> None:
        super().end()
        while not self.is_over():  # the process that watches it
            time.sleep(0.1)


@dataclass(frozen=True)
class SubmititLocal(ThisMachine):
    """Processes of this machine, started by submitit, with an equal share of it each."""

    package: ClassVar[str | None] = "submitit"
    extra: ClassVar[str] = "slurm"

    def start(self, arguments: Sequence[str], folder: Path, slot: int) -> Job:
        from submitit import LocalExecutor

        executor = LocalExecutor(folder / "submitit")
        executor.update_parameters(timeout_min=NO_LIMIT)
        # Submitit would show each job the first GPUs of the machine, or none.
        line, variables = command(arguments, folder)
        worker = Worker(line, variables | self.share(slot), folder, passes_on=True)
        return LocalJob(executor.submit(worker), folder)
