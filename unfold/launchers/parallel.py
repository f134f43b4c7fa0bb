"""Jobs as processes of this machine: what ends one of them leaves the others alone."""

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
"""The process of the sweep, which its jobs do not outlive."""

DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux: the signal that a process gets when the one that made it is gone."""


class Process(Job):
    """One process that runs one configuration.

    Args:
        words: of its command line, after the program.
        folder: for what it says.
        share: the variables that keep it to its part of the machine.
    """

    def __init__(self, words: Sequence[str], folder: Path, share: Mapping[str, str]) -> None:
        super().__init__(folder)
        line, variables = command(words, folder)
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

    def start(self, words: Sequence[str], folder: Path, slot: int) -> Job:
        return Process(words, folder, self.share(slot))


def end_with_sweep() -> None:
    """Let SIGTERM, on which a run saves its state, reach this process when its sweep is killed.

    Linux sends it. Elsewhere a job goes on to its end, and the sweep finds it finished.
    """
    sweep = os.environ.pop(SWEEP_VARIABLE, None)  # the processes that a job makes are its own
    if sweep is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(sweep):  # it was gone before it could be asked for
        os.kill(os.getpid(), signal.SIGTERM)
