"""Jobs through submitit's executor of this machine: the way of a cluster, without one."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from unfold.launchers.launcher import Job, command
from unfold.launchers.shares import ThisMachine
from unfold.launchers.submitted import Submitted
from unfold.launchers.worker import Worker

FOREVER = 60 * 24 * 365
"""Minutes: a job of this machine has no time limit, and submitit wants one."""


class LocalJob(Submitted):
    """A job of this machine, behind a process of submitit that watches it."""

    def is_over(self) -> bool:
        return bool(self.job.done())

    def cancel(self) -> None:
        # By submitit's own way the job would have a second to save its state.
        os.kill(int(self.job.job_id), signal.SIGTERM)

    def end(self) -> None:
        super().end()
        while not self.is_over():  # the process that watches it
            time.sleep(0.1)


@dataclass(frozen=True)
class SubmititLocal(ThisMachine):
    """Processes of this machine, started by submitit, with an equal share of it each.

    Args:
        jobs: how many run at a time.
        gpus: of each job; null for an equal share, 0 for none.
    """

    package: ClassVar[str | None] = "submitit"
    extra: ClassVar[str] = "slurm"

    def start(self, words: Sequence[str], folder: Path, slot: int) -> Job:
        from submitit import LocalExecutor

        executor = LocalExecutor(folder / "submitit")
        executor.update_parameters(timeout_min=FOREVER)
        # Submitit would show each job the first GPUs of the machine, or none.
        line, variables = command(words, folder)
        worker = Worker(line, variables | self.share(slot), folder, passes_on=True)
        return LocalJob(executor.submit(worker), folder)
