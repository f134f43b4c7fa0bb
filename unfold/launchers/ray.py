"""Jobs on a cluster of Ray, or on this machine where there is none."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from unfold.launchers.launcher import LOG, Job, Launcher, command
from unfold.parameters.bounds import bounded, nonnegative, whole

STOP = "stop"
"""The file that asks a job to end: Ray has no signal that leaves it time to save."""


def run_command(
    line: Sequence[str], environment: Mapping[str, str], folder: Path, here: Path
) -> int:
    """Run a command line until it ends or is asked to; its exit code."""
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            list(line),
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=here,
        )
    while process.poll() is None:
        if (folder / STOP).exists():
            process.send_signal(signal.SIGTERM)
            process.wait()
        time.sleep(0.2)
    return process.returncode


class Task(Job):
    """A task of Ray, with the reference to its result."""

    def __init__(self, reference: Any, folder: Path) -> None:
        super().__init__(folder)
        self._reference = reference
        self._lost: str | None = None

    @property
    def code(self) -> int | None:
        import ray

        done, _ = ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            return int(ray.get(self._reference))
        except ray.exceptions.RayError as error:
            self._lost = f"lost by Ray: {' '.join(str(error).split())[:200]}"
            return 1

    @property
    def error(self) -> str:
        return super().error if self._lost is None else self._lost

    def end(self) -> None:
        (self.folder / STOP).touch()
        while self.code is None:
            time.sleep(0.2)


@dataclass(frozen=True)
class Ray(Launcher):
    """Tasks of Ray, one for each job; a fraction of `gpus` lets several share one."""

    jobs: int = bounded(1, whole(1))
    address: str | None = None
    cpus: int = bounded(1, whole(1))
    gpus: float = bounded(0.0, nonnegative)

    package: ClassVar[str | None] = "ray"
    extra: ClassVar[str] = "ray"
    shared: ClassVar[bool] = True

    def start(self, arguments: Sequence[str], folder: Path, slot: int) -> Job:
        import ray

        if not ray.is_initialized():
            # The driver handles signals itself, and shows the output of its jobs.
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False)
        task = ray.remote(run_command).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0
        )
        line, variables = command(arguments, folder)
        reference = task.remote(line, variables, folder, Path.cwd())
        return Task(reference, folder)
