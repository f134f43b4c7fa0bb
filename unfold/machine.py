"""What this machine has: the CPUs that a process may use, and how many processes they run."""

import math
import os
from pathlib import Path


def available_cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The CPUs of this process, by its affinity and by the quota of its container.

    The file of Linux control groups holds "QUOTA PERIOD", in microseconds.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit, _, period = quota.read_text().partition(" ") if quota.is_file() else ("max", "", "")
    if limit.strip().isdigit() and period.strip().isdigit():
        cpus = min(cpus, max(1, math.ceil(int(limit) / int(period))))
    return cpus


def refusal(count: int | None, least: int, what: str) -> str:
    """Why a count of processes or threads is refused here; empty where it is not.

    Every machine runs `least`, and a larger one four for each CPU.
    """
    most = max(least, 4 * (cpus := available_cpus()))
    if count is None or count <= most:
        return ""
    return f"must be at most {most} {what} on this machine, which has {cpus} CPUs."
