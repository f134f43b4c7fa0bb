"""What this machine has: the CPUs that a process may use, how many they run, and free memory."""

import math
import os
import re
from contextlib import suppress
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


def refusal(count: int | None, least: int, what: str) -> str:
    """Why a count of processes or threads is refused here; empty where it is not.

    Args:
        count: that is asked for; None for the default.
        least: that every machine runs; a larger one runs four for each CPU.
        what: is counted.
    """
    most = max(least, 4 * (cpus := available_cpus()))
    if count is None or count <= most:
        return ""
    return f"must be at most {most} {what} on this machine, which has {cpus} CPUs."


def free_memory() -> int:
    """Bytes that can be allocated: of the machine, or of the control group of the process."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, TypeError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found.append(1024 * int(re.search(r"MemAvailable:\s+(\d+)", text)[1]))  # type: ignore[index]
    with suppress(OSError, ValueError, TypeError):
        group = Path("/sys/fs/cgroup")
        used = re.search(r"^anon (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        found.append(int((group / "memory.max").read_text()) - int(used[1]))  # type: ignore[index]
    return min(found)
