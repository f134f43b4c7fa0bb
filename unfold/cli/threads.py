"""How many threads PyTorch uses: those that this process may use, not those of the machine."""

import math
import os
from pathlib import Path


def available_cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The CPUs of this process, by its affinity and by the quota of its container.

    Args:
        quota: the file of Linux control groups with "QUOTA PERIOD" in microseconds.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit, _, period = quota.read_text().partition(" ") if quota.is_file() else ("max", "", "")
    if limit.strip().isdigit() and period.strip().isdigit():
        cpus = min(cpus, max(1, math.ceil(int(limit) / int(period))))
    return cpus


def set_threads(threads: int | None, processes: int = 1) -> int:
    """Set PyTorch's threads, and return how many there are.

    Args:
        threads: how many; None for an equal share of the CPUs.
        processes: how many processes share the CPUs.
    """
    import torch

    count = threads or max(1, available_cpus() // processes)
    torch.set_num_threads(count)
    return count
