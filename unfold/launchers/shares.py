"""The part of this machine that a job gets: its CPUs, and its GPUs."""

import os
from abc import ABC
from dataclasses import dataclass
from itertools import takewhile

from unfold.errors import ConfigError
from unfold.launchers.launcher import Launcher
from unfold.parameters.bounds import bounded, whole

CPUS_VARIABLE = "UNFOLD_CPUS"
"""The CPUs of a job, separated by commas: concurrent jobs share no CPU."""

GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""The GPUs of a process, separated by commas, as CUDA and PyTorch read it."""


def share_of(slot: int, jobs: int, gpus: int | None) -> dict[str, str]:
    """The variables that keep a job to its part of the machine.

    Args:
        slot: which of the places it takes.
        jobs: how many run at a time.
        gpus: of each job; None for an equal share, which several jobs have together where there
            are fewer GPUs than jobs.
    """
    given: dict[str, str] = {}
    if cpus := slots(jobs)[slot]:
        given[CPUS_VARIABLE] = ",".join(map(str, cpus))
    names = visible_gpus()
    if names:
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


def check_gpus(jobs: int, gpus: int | None) -> None:
    """Refuse to run jobs that have not the GPUs they ask for.

    Args:
        jobs: how many run at a time.
        gpus: of each; None for a share of what there is.

    Raises:
        ConfigError: there are fewer.
    """
    if not gpus:
        return
    names = visible_gpus()
    if jobs * gpus > len(names):
        seen = f"{len(names)} ({', '.join(names)})" if names else "none"
        raise ConfigError(
            f"hydra.launcher.gpus = {gpus}: {jobs} jobs at a time need {jobs * gpus} GPUs, and "
            f"there are {seen}. Lower hydra.launcher.jobs, or leave hydra.launcher.gpus out: jobs "
            "then share what there is."
        )


def keep_to_cpus() -> None:
    """Keep this process to the CPUs that the sweep gave it."""
    given = os.environ.get(CPUS_VARIABLE)
    if given and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in given.split(",")})


@dataclass(frozen=True)
class ThisMachine(Launcher, ABC):
    """Starts jobs with an equal share of the CPUs and the GPUs of this machine each.

    Args:
        jobs: how many run at a time.
        gpus: of each job; null for an equal share, 0 for none.
    """

    jobs: int = bounded(1, whole(1))
    gpus: int | None = bounded(None, whole(0))

    def require(self) -> None:
        """Refuse as well where there are fewer GPUs than the jobs ask for."""
        super().require()
        check_gpus(self.jobs, self.gpus)

    def share(self, slot: int) -> dict[str, str]:
        """The variables that keep the job in a place to its part of the machine."""
        return share_of(slot, self.jobs, self.gpus)
