"""Jobs as processes of this machine: what ends one of them leaves the others alone."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unfold.launchers.launcher import LOG, Job, Launcher, command_line, variables

CPUS_VARIABLE = "UNFOLD_CPUS"
"""The CPUs of a job, separated by commas: jobs that run side by side share no CPU."""

SWEEP_VARIABLE = "UNFOLD_SWEEP"
"""The process of the sweep, which its jobs do not outlive."""

DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux: the signal that a process gets when the one that made it is gone."""


class Process(Job):
    """One process that runs one configuration.

    Args:
        words: of its command line, after the program.
        folder: for what it says.
        cpus: the CPUs it keeps to; none for all.
    """

    def __init__(self, words: Sequence[str], folder: Path, cpus: Sequence[int] = ()) -> None:
        super().__init__(folder)
        given = {SWEEP_VARIABLE: str(os.getpid())}
        if cpus:
            given[CPUS_VARIABLE] = ",".join(map(str, cpus))
        with (folder / LOG).open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                command_line(words),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | variables(folder) | given,
            )

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()


@dataclass(frozen=True)
class Parallel(Launcher):
    """Processes of this machine, with an equal share of its CPUs each.

    Args:
        jobs: how many run at a time.
    """

    jobs: int = 1

    def start(self, words: Sequence[str], folder: Path, slot: int) -> Job:
        return Process(words, folder, slots(self.jobs)[slot])


def slots(jobs: int) -> list[list[int]]:
    """The CPUs of each job: all where they run one at a time, an equal share otherwise."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(jobs)]
    cpus = sorted(os.sched_getaffinity(0))
    share = max(1, len(cpus) // jobs)
    return [[cpus[(i * share + k) % len(cpus)] for k in range(share)] for i in range(jobs)]


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


def keep_to_cpus() -> None:
    """Keep this process to the CPUs that the sweep gave it."""
    given = os.environ.get(CPUS_VARIABLE)
    if given and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in given.split(",")})
