"""Keep freed memory in the process: up to twice as fast on Linux CPUs, for no memory measured.

glibc gives large freed blocks back to the kernel and faults them in again, page by page, for the
next activation of the same size. Raising two thresholds of its allocator keeps them. Set
UNFOLD_MALLOC=0 to leave the allocator alone.
"""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
GIB = 2**30


def keep_freed_memory() -> bool:
    """Raise the thresholds, where the C library is glibc; says whether it did."""
    if os.environ.get("UNFOLD_MALLOC") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    done = libc.mallopt(M_MMAP_THRESHOLD, GIB), libc.mallopt(M_TRIM_THRESHOLD, 2 * GIB - 1)
    return all(done)
