"""Jobs as processes of this machine: a failure of one does not stop the others."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unfold.launchers.launcher import LOG, Job, command
from unfold.launchers.shares import ThisMachine

SWEEP_VARIABLE = "UNFOLD_SWEEP"
"""The process of the sweep, with which its jobs terminate."""

DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux: the signal that a process gets when the one that made it is gone."""


class Process(Job):
    """One process that runs one configuration.

    Args:
        arguments: of its command, after the program.
        folder: for its output.
        share: the variables that restrict it to its part of the machine.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, share: Mapping[str, str]) -> None:
        super().__init__(folder)
        line, variables = command(arguments, folder)
        given = variables | {SWEEP_VARIABLE: str(os.getpid()), **share}
        with (folder / LOG).open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                line,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | given,
            )

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()


@dataclass(frozen=True)
class Parallel(ThisMachine):
    """Processes of this machine, with an equal share of its CPUs and its GPUs each.

    Args:
        jobs: how many run at a time.
        gpus: of each job; null for an equal share, 0 for none.
    """

    def start(self, arguments: Sequence[str], folder: Path, slot: int) -> Job:
        return Process(arguments, folder, self.share(slot))


def end_with_sweep() -> None:
    """Let SIGTERM, on which a run saves its state, reach this process when its sweep is killed.

    Linux sends it. Elsewhere a job runs to its end, and the next sweep finds it finished.
    """
    sweep = os.environ.pop(SWEEP_VARIABLE, None)  # not for the processes of the job
    if sweep is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(sweep):  # it terminated before this call
        os.kill(os.getpid(), signal.SIGTERM)
