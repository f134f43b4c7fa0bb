"""The processes of a run: the ranks of its launch, and the lock of the one that writes."""

import json
import os
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from unfold.disk import read_bytes
from unfold.errors import ConfigError, RunError

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Set by torchrun, by torchrun and Lightning, by srun, and by jsrun; all that Lightning reads."""

LAUNCHES = (
    ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"),
    ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ("UNFOLD_LAUNCH",),
)
"""What has the same value in all processes of a launch: by torchrun, by srun, by Lightning."""


def rank() -> int:
    """The rank of this process; 0 where it is the only one.

    Raises:
        ConfigError: a variable holds no rank.
    """
    return max((_rank(name) for name in RANKS if name in os.environ), default=0)


def _rank(name: str) -> int:
    with suppress(ValueError):
        if (found := int(os.environ[name])) >= 0:
            return found
    raise ConfigError(
        f"{name} = {os.environ[name]!r}: must be a whole number of at least 0. Unset it."
    )


def launch() -> str:
    """What distinguishes the processes of this launch from those of others; empty for none."""
    names = next((names for names in LAUNCHES if names[0] in os.environ), ())
    return " ".join(os.environ.get(name, "-") for name in names)


@contextmanager
def launched() -> Iterator[None]:
    """Let the ranks that Lightning starts by repeating this command know its launch."""
    if launch():
        yield
        return
    os.environ["UNFOLD_LAUNCH"] = uuid.uuid4().hex
    try:
        yield
    finally:
        del os.environ["UNFOLD_LAUNCH"]


def check_rank(processes: int) -> None:
    """Refuse a rank that no launch of this run gave: as rank 1, a process writes no metrics."""
    if rank() > 0 and (processes == 1 or not launch()):
        found = ", ".join(f"{name}={os.environ[name]}" for name in RANKS if name in os.environ)
        raise ConfigError(
            f"{found} in the environment makes this process one of several, but it has no launch, "
            "or its configuration trains in one process. Unset it, or choose trainer=ddp with as "
            "many devices as processes and start them with torchrun or srun."
        )


INTERACTIVE = ("bash", "interactive")


def check_launch(nodes: int, devices: int = 1) -> None:
    """Refuse several machines without the launcher of their processes, or with other processes."""
    if nodes > 1 and not {"TORCHELASTIC_RUN_ID", "SLURM_PROCID"} & set(os.environ):
        raise ConfigError(
            f"trainer.nodes = {nodes}: several machines start through torchrun or srun, one "
            f"process per device. Write torchrun --nnodes {nodes} --nproc-per-node DEVICES "
            "--rdzv-endpoint HOST:PORT train.py ... on each, or use hydra/launcher=slurm."
        )
    elsewhere = "SLURM_NTASKS" not in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    # Lightning starts the ranks itself in a job of these names.
    if nodes * devices == 1 or elsewhere or os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return
    needed = {"SLURM_NTASKS": nodes * devices, "SLURM_NTASKS_PER_NODE": devices}
    found = {name: os.environ.get(name, "") for name in needed}
    if any(found[name] != str(count) for name, count in needed.items()):
        shown = " and ".join(f"{name}={text or 'unset'}" for name, text in found.items())
        raise ConfigError(
            f"trainer.devices = {devices}: {nodes} machines with {devices} devices each are as "
            f"many tasks of SLURM, and its job has {shown}. Start it with --nodes={nodes} "
            f"--ntasks-per-node={devices}, without --ntasks, or change trainer.devices and nodes."
        )


BUSY = " is being written by "
"""What stands between the directory and its writer in the error of a lock that is held."""


def busy_directory(error: str) -> Path | None:
    """The run directory that an error reports as being written; None in any other error."""
    directory, found, _ = error.partition(BUSY)
    return Path(directory.rpartition("\n")[2]) if found else None


class Lock:
    """A lock on a file, which the system drops when the process terminates; the file stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path, fallback_to_soft=False)

    def acquire(self) -> None:
        """Take the lock; a RunError where another process holds it or the file cannot be made."""
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            expect_own(self._path)
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
    if not os.path.lexists(path):
        return False
    expect_own(path)
    try:
        with FileLock(path, timeout=0, fallback_to_soft=False):
            return False
    except Timeout:
        return True


def expect_own(path: Path) -> None:
    """Refuse a lock that is a link, by any name of another file, or no file: it is truncated.

    Raises:
        RunError: names it.
    """
    with suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise RunError(f"{path} is a link or no file, and would be overwritten. Remove it.")


def _holder(path: Path) -> str:
    try:
        holder = json.loads(read_bytes(path, 4096))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
