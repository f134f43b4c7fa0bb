"""One writer per run directory."""

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO

from unfold.errors import RunError

RANK_VARIABLE = "UNFOLD_RUN"
"""Set by the process that holds the lock; its ranks inherit it and write under its lock."""


BUSY = " is being written by "
"""What stands between the directory and its writer in the error of a lock that is held."""


def busy_directory(error: str) -> Path | None:
    """The run directory that an error says another process is writing; None in any other error."""
    directory, found, _ = error.partition(BUSY)
    return Path(directory.rpartition("\n")[2]) if found else None


_HELD: set[IO[str]] = set()
"""The files whose locks this process holds."""


def _leave_to_parent() -> None:
    """Close them in a forked process: loader workers outlive a killed run by some seconds."""
    for file in _HELD:
        file.close()
    _HELD.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


class Lock:
    """An advisory lock on a file; the system drops it when the process ends, however it ends.

    Args:
        path: the lock file; it is left in place, since removing it would let two processes in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock, or say who has it.

        Raises:
            RunError: another process holds it, or the file cannot be made.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            text = f"{self._path.parent} cannot be written: {error.strerror}. Change runs_dir."
            raise RunError(text) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(file)
            file.close()
            raise RunError(
                f"{self._path.parent}{BUSY}{holder}. Wait until it ends, or change "
                "the configuration (another seed or name has a directory of its own)."
            ) from error
        self._file = file
        _HELD.add(file)
        self._sign(file)

    def _sign(self, file: IO[str]) -> None:
        file.seek(0)
        file.truncate()
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            _HELD.discard(self._file)
            self._file.close()
            self._file = None


def is_held(path: Path) -> bool:
    """Whether a process holds the lock on this file."""
    if not path.exists():
        return False
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def belongs_to_parent(directory: Path) -> bool:
    """Whether this process is a rank of the one that holds the lock of the directory."""
    return os.environ.get(RANK_VARIABLE) == str(directory) and rank() > 0


def rank() -> int:
    """0 for the first of all processes of a distributed training, or the only one; else above."""
    variables = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    given = [os.environ.get(variable, "") for variable in variables]
    return max((int(value) for value in given if value.isdigit()), default=0)
