"""One writer per run directory."""

import json
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from unfold.errors import RunError

BUSY = " is being written by "
"""What stands between the directory and its writer in the error of a lock that is held."""


def busy_directory(error: str) -> Path | None:
    """The run directory that an error reports as being written; None in any other error."""
    directory, found, _ = error.partition(BUSY)
    return Path(directory.rpartition("\n")[2]) if found else None


class Lock:
    """A lock on a file, which the system drops when the process terminates, however it does.

    Args:
        path: the lock file; it holds the process id and the host, and is left in place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path, fallback_to_soft=False)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunError: another process holds it, or the file cannot be made.
        """
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0.2)  # longer than `is_held` takes elsewhere
            self._path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        except Timeout as error:
            raise RunError(
                f"{folder}{BUSY}{_holder(self._path)}. Wait until it ends, or change "
                "the configuration (another seed or name has its own directory)."
            ) from error
        except OSError as error:
            text = f"{folder} cannot be written: {error.strerror}. Change runs_dir."
            raise RunError(text) from error

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock on this file."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0, fallback_to_soft=False):
            return False
    except Timeout:
        return True


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
