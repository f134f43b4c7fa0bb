"""A checksum inside a training state: a file that was cut or altered is never taken for whole.

A training state is a zip archive. Its checksum stands in the comment of the archive, so that it
stays one file, any reader of such archives reads it, and one rename puts it in place.
"""

import hashlib
import struct
from pathlib import Path
from typing import NamedTuple

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
"""The newest training state of a run, and the one before it."""

MARK = b"sha256:"
LENGTH = len(MARK) + 64


def seal(archive: bytes) -> bytes:
    """The archive with its SHA-256 as its comment; it must have none."""
    assert archive.endswith(b"\0\0"), "an archive without a comment ends in its length, 0"
    digest = hashlib.sha256(archive).hexdigest()
    return archive[:-2] + struct.pack("<H", LENGTH) + MARK + digest.encode()


def damage(content: bytes) -> str | None:
    """What is wrong with a sealed archive; None where it is as it was written."""
    comment, size = content[-LENGTH:], content[-LENGTH - 2 : -LENGTH]
    if not comment.startswith(MARK) or size != struct.pack("<H", LENGTH):
        return "it is cut short, or was not written by unfold"
    digest = hashlib.sha256(content[: -LENGTH - 2] + b"\0\0").hexdigest()
    return None if comment[len(MARK) :] == digest.encode() else "its checksum differs"


class Found(NamedTuple):
    """Where a training can go on from.

    path: the newest state that is whole, or None.
    damaged: the newer ones that are not, each with the reason.
    """

    path: Path | None
    damaged: tuple[tuple[Path, str], ...]


def newest_state(folder: Path) -> Found:
    """The newest training state in a folder that is as it was written."""
    damaged: list[tuple[Path, str]] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.is_file():
            continue
        reason = damage(path.read_bytes())
        if reason is None:
            return Found(path, tuple(damaged))
        damaged.append((path, reason))
    return Found(None, tuple(damaged))
