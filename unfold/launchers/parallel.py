"""Jobs as processes of this machine, with a share of its CPUs and GPUs each."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from unfold.errors import ConfigError
from unfold.launchers.launcher import LOG, Job, Launcher, command
from unfold.machine import refusal
from unfold.parameters.bounds import bounded, whole

SWEEP_VARIABLE = "UNFOLD_SWEEP"
"""The process of the sweep, with which its jobs terminate."""

CPUS_VARIABLE = "UNFOLD_CPUS"
"""The CPUs of a job, separated by commas: concurrent jobs share no CPU."""

GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""The GPUs of a process, separated by commas, as CUDA and PyTorch read it."""

DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux: the signal that a process gets when the one that made it is gone."""


def share_of(slot: int, jobs: int, gpus: int | None) -> dict[str, str]:
    """The variables that keep a job to its part of the machine.

    Without `gpus` it has an equal share, several jobs together where there are fewer than jobs.
    """
    given: dict[str, str] = {}
    if cpus := slots(jobs)[slot]:
        given[CPUS_VARIABLE] = ",".join(map(str, cpus))
    if names := visible_gpus():
        count = max(1, len(names) // jobs) if gpus is None else gpus
        own = [names[(slot * count + k) % len(names)] for k in range(count)]
        given[GPUS_VARIABLE] = ",".join(own)
    return given


def slots(jobs: int) -> list[list[int]]:
    """The CPUs of each job: all where they run one at a time, an equal share otherwise."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(jobs)]
    cpus = sorted(os.sched_getaffinity(0))
    share = max(1, len(cpus) // jobs)
    return [[cpus[(i * share + k) % len(cpus)] for k in range(share)] for i in range(jobs)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that `CUDA_VISIBLE_DEVICES` has for them."""
    given = os.environ.get(GPUS_VARIABLE)
    if given is None:
        return [str(number) for number in range(count_gpus())]
    names = [name.strip() for name in given.split(",")]
    return list(takewhile(lambda name: name not in ("", "-1"), names))


def count_gpus() -> int:
    """The GPUs of this machine."""
    import torch

    return torch.cuda.device_count()


@dataclass(frozen=True)
class Parallel(Launcher):
    """Processes of this machine, with an equal share of its CPUs and its GPUs each."""

    jobs: int = bounded(1, whole(1))
    gpus: int | None = bounded(None, whole(0))

    def require(self) -> None:
        """Refuse as well more jobs than the CPUs run, or fewer GPUs than they ask for."""
        super().require()
        if why := refusal(self.jobs, 8, "jobs at a time"):
            raise ConfigError(f"hydra.launcher.jobs = {self.jobs}: {why}")
        needed = self.jobs * (self.gpus or 0)
        if needed and needed > len(names := visible_gpus()):
            seen = f"{len(names)} ({', '.join(names)})" if names else "none"
            raise ConfigError(
                f"hydra.launcher.gpus = {self.gpus}: {self.jobs} jobs at a time need {needed} GPUs,"
                f" and there are {seen}. Lower hydra.launcher.jobs, or leave hydra.launcher.gpus "
                "out: jobs then share what there is."
            )

    def start(self, arguments: Sequence[str], folder: Path, slot: int) -> Job:
        return Process(arguments, folder, share_of(slot, self.jobs, self.gpus))


class Process(Job):
    """One process that runs one configuration; its share are variables that restrict it."""

    def __init__(self, arguments: Sequence[str], folder: Path, share: Mapping[str, str]) -> None:
        super().__init__(folder)
        line, variables = command(arguments, folder)
        given = variables | {SWEEP_VARIABLE: str(os.getpid()), **share}
        with (folder / LOG).open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                line, stdout=log, stderr=subprocess.STDOUT, env=os.environ | given
            )

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()


def join_sweep() -> None:
    """Keep a job to the CPUs that its sweep gave it, and let it terminate with the sweep.

    On Linux it gets SIGTERM, on which a run saves its state, when the sweep is killed. Elsewhere it
    runs to its end, and the next sweep finds it finished.
    """
    cpus = _numbers(CPUS_VARIABLE)
    if cpus and hasattr(os, "sched_setaffinity"):
        if not cpus <= (own := os.sched_getaffinity(0)):
            given, has = (",".join(map(str, sorted(numbers))) for numbers in (cpus, own))
            raise ConfigError(f"{CPUS_VARIABLE} = {given}: this process has {has}.")
        os.sched_setaffinity(0, cpus)
    sweep = _numbers(SWEEP_VARIABLE)
    os.environ.pop(SWEEP_VARIABLE, None)  # not for the processes of the job
    if not sweep or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)
    if {os.getppid()} != sweep:  # it terminated before this call
        os.kill(os.getpid(), signal.SIGTERM)


def _numbers(name: str) -> set[int]:
    """What a variable lists, separated by commas; a ConfigError where it does not."""
    text = os.environ.get(name) or ""
    try:
        return {int(part) for part in text.split(",") if text}
    except ValueError as error:
        remedy = "numbers separated by commas are expected. A sweep sets it for its jobs; unset it."
        raise ConfigError(f"{name} = {text!r}: {remedy}") from error
