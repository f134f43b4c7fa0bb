"""Atomic file writes: to a temporary sibling, flushed, then renamed; archives with a checksum."""

import errno
import hashlib
import os
import shutil
import stat
import struct
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from unfold.errors import ConfigError, RunError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk."""

SPARE = 64 * 1024
"""Bytes left free next to a large file, for the status and the curves that follow it."""


class DiskFullError(RunError):
    """A file for which there is no room; what was there before is kept."""


def expand(path: str | Path, key: str) -> Path:
    """The path that the argument `key` names, with ~ for a home folder.

    Raises:
        ConfigError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{key} = {path}: there is no such user, or no home folder; write the full path."
        ) from error


LARGEST = 2**26
"""Bytes of the largest file of text that is read."""


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """The content of a regular file: no link is followed, no pipe waited for.

    Raises:
        OSError: it is something else, cannot be read, or has more than `most` bytes.
    """
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, os.O_RDONLY | safe), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, of at most {most}")
        return file.read(most)


def odd_entries(folder: Path, apart: Collection[str] = ()) -> Iterator[Path]:
    """The links, pipes and devices in a folder, at any depth, except in the folders `apart`."""
    for inside, folders, names in os.walk(folder):
        for path in (Path(inside, name) for name in (*folders, *names)):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                yield path
        if Path(inside) == folder:
            folders[:] = [name for name in folders if name not in apart]


def write_bytes(
    path: Path, content: bytes, *, keep: Path | None = None, advice: str = "Free space."
) -> None:
    """Replace a file; after a crash or a loss of power it holds the old content or the new one.

    Its folder is made, and the file that was there moves to `keep`; `advice` ends the message where
    it fails.

    Raises:
        DiskFullError: there is no room.
        RunError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _expect_room(path.parent, len(content))
        # Not made by `tempfile`, whose files only their owner can read.
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error, advice) from error
    finally:
        with suppress(OSError):  # the folder may be what is missing
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace a file of a run by text; line ends stay as they are."""
    write_bytes(path, text.encode(), advice="Free space, or change runs_dir.")


def _expect_room(folder: Path, size: int) -> None:
    """Refuse a large file before it takes the last of the room."""
    if size <= SPARE:
        return
    usage = shutil.disk_usage(folder)
    # Some network file systems count nothing.
    if usage.total and usage.free < size + SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def flush_folder(folder: Path) -> None:
    """Make renames last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError, advice: str) -> RunError:
    """The error that a failed write becomes."""
    kind = DiskFullError if error.errno in FULL else RunError
    return kind(f"{path} cannot be written: {error.strerror}. {advice}")


MARK = b"sha256:"
LENGTH = len(MARK) + 64


def with_checksum(archive: bytes) -> bytes:
    """The archive with its SHA-256 as its comment; it must have none."""
    assert archive.endswith(b"\0\0"), "an archive without a comment ends in its length, 0"
    digest = hashlib.sha256(archive).hexdigest()
    return archive[:-2] + struct.pack("<H", LENGTH) + MARK + digest.encode()


def damage(content: bytes) -> str | None:
    """What is wrong with an archive with a checksum; None where it is intact."""
    comment, size = content[-LENGTH:], content[-LENGTH - 2 : -LENGTH]
    if not comment.startswith(MARK) or size != struct.pack("<H", LENGTH):
        return "it is cut short, or was not written by unfold"
    digest = hashlib.sha256(content[: -LENGTH - 2] + b"\0\0").hexdigest()
    return None if comment[len(MARK) :] == digest.encode() else "its checksum differs"
