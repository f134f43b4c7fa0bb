"""Jobs that submitit starts, on this machine or through SLURM."""

import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

from unfold.launchers.launcher import CODE, Job

PATIENCE = 120.0
"""Seconds that a job is given to save its state."""


class Submitted(Job):
    """A job of submitit, whose exit code a worker writes down.

    Args:
        job: what submitit returned.
        folder: its files.
    """

    def __init__(self, job: Any, folder: Path) -> None:
        super().__init__(folder)
        self.job = job

    @abstractmethod
    def is_over(self) -> bool:
        """Whether it ended, and is not started again."""

    @abstractmethod
    def cancel(self) -> None:
        """Ask it to end."""

    @property
    def code(self) -> int | None:
        if not self.is_over():
            return None
        told = self.told
        return 1 if told is None else told

    @property
    def told(self) -> int | None:
        """The exit code that the worker wrote down."""
        path = self.folder / CODE
        return int(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def error(self) -> str:
        if self.told is None:
            return f"ended from outside: {self.job.state}"
        return super().error

    def end(self) -> None:
        if self.is_over():
            return
        self.cancel()
        until = time.monotonic() + PATIENCE
        while self.told is None and not self.is_over() and time.monotonic() < until:
            time.sleep(0.2)
