"""Jobs on a SLURM cluster, through submitit; they save and resume at a time limit."""

import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from unfold.errors import ConfigError
from unfold.launchers.launcher import CODE, Job, Launcher, command
from unfold.launchers.worker import SAVED, Worker
from unfold.parameters.bounds import bounded, positive, whole


class Queue:
    """The jobs of this user that SLURM knows as waiting or running, asked for now and then.

    Not every cluster keeps the accounting that submitit asks.
    """

    every: ClassVar[float] = 5.0

    def __init__(self) -> None:
        self._asked, self._jobs = -math.inf, frozenset[str]()

    def holds(self, job: str) -> bool:
        """Whether a job is in the queue; unanswered questions leave the last answer."""
        if time.monotonic() > self._asked + self.every:
            line = ["squeue", "--me", "--noheader", "--format=%A"]
            answer = subprocess.run(line, capture_output=True, text=True, check=False)
            if answer.returncode == 0:
                self._asked, self._jobs = time.monotonic(), frozenset(answer.stdout.split())
        return job in self._jobs or math.isinf(self._asked)


QUEUE = Queue()

PATIENCE = 120.0
"""Seconds that a job is given to save its state."""


class SlurmJob(Job):
    """A job of SLURM, over once its exit code is final, or it has left the queue for some time."""

    def __init__(self, job: Any, folder: Path) -> None:
        super().__init__(folder)
        self.job = job
        self._left: float | None = None

    @property
    def written_code(self) -> int | None:
        """The exit code that the worker wrote."""
        path = self.folder / CODE
        return int(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def code(self) -> int | None:
        if not self._is_over():
            return None
        written = self.written_code
        return 1 if written is None else written

    @property
    def error(self) -> str:
        if self.written_code is None:
            return f"ended from outside: {self.job.state}"
        return super().error

    def end(self) -> None:
        if self._is_over():
            return
        self.job.cancel(check=False)
        until = time.monotonic() + PATIENCE
        while self.written_code is None and not self._is_over() and time.monotonic() < until:
            time.sleep(0.2)

    def _is_over(self) -> bool:
        # Only SLURM knows whether a job that saved its state is requeued.
        if self.written_code not in (None, SAVED):
            return True
        if QUEUE.holds(str(self.job.job_id)):
            self._left = None
            return False
        self._left = self._left or time.monotonic()
        return time.monotonic() > self._left + 2 * QUEUE.every


@dataclass(frozen=True)
class Slurm(Launcher):
    """Jobs of one task on one machine, or of one task per device on several.

    On one machine Lightning starts the ranks inside the task; on several SLURM does. `cpus`, `gpus`
    and `mem` (in GB) are of each machine; `slurm.yaml` explains each setting.
    """

    jobs: int = bounded(100, whole(1))
    partition: str | None = None
    time: int = bounded(240, whole(1), "in minutes")
    nodes: int = bounded(1, whole(1))
    cpus: int = bounded(4, whole(1))
    gpus: int = bounded(0, whole(0))
    mem: float | None = bounded(None, positive, "in GB")
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    save_within: int = bounded(120, whole(1), "in seconds")
    requeues: int = bounded(100, whole(0))
    setup: Sequence[str] = ()

    package: ClassVar[str | None] = "submitit"
    extra: ClassVar[str] = "slurm"
    shared: ClassVar[bool] = True
    poll: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.save_within >= 60 * self.time:
            raise ConfigError(
                f"save_within = {self.save_within}: must be less than the {60 * self.time} seconds "
                "of a start."
            )

    def require(self) -> None:
        super().require()
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise ConfigError(
                "hydra/launcher = slurm: sbatch and srun are not on this machine's PATH. Start the "
                "sweep where jobs are submitted, or take hydra/launcher=parallel."
            )

    def parameters(self) -> dict[str, Any]:
        """The settings of a job, by the names that submitit's executor of SLURM gives them."""
        tasks = max(1, self.gpus) if self.nodes > 1 else 1
        values = {
            "job_name": "unfold",
            "partition": self.partition,
            "time": self.time,
            "nodes": self.nodes,
            "ntasks_per_node": tasks,
            "cpus_per_task": max(1, self.cpus // tasks),
            "gpus_per_node": self.gpus or None,
            "mem": None if self.mem is None else f"{round(1024 * self.mem)}MB",
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "signal_delay_s": self.save_within,
            "setup": list(self.setup) or None,
            # SLURM itself requeues a job that it preempts.
            "additional_parameters": {"requeue": True, "ntasks": self.nodes * tasks},
        }
        return {name: value for name, value in values.items() if value is not None}

    def start(self, arguments: Sequence[str], folder: Path, slot: int) -> Job:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(folder / "submitit")
        executor.update_parameters(**self.parameters())
        worker = Worker(*command(arguments, folder), folder, self.requeues)
        return SlurmJob(executor.submit(worker), folder)
