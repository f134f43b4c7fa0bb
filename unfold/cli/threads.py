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


def _asked() -> int | None:
    """OMP_NUM_THREADS of the outermost level, where it is set to a number."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdigit() and int(text) > 0 else None


def set_threads(threads: int | None, processes: int = 1) -> int:
    """Set PyTorch's threads, and return how many there are.

    Args:
        threads: how many; None for an equal share of the CPUs, and at most OMP_NUM_THREADS where
            the environment sets it for every process.
        processes: how many processes share the CPUs.
    """
    import torch

    share = max(1, available_cpus() // processes)
    count = threads or min(share, _asked() or share)
    torch.set_num_threads(count)
    return count
