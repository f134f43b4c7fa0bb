"""A checksum inside a file: one that was cut or altered is never taken for whole.

A training state is a zip archive, with its checksum in the comment of the archive; weights are a
safetensors file, with theirs in its metadata. So each stays one file, any reader of such files
reads it, and one rename puts it in place.
"""

import hashlib
import re
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


KEY, KIND = "unfold_checksum", "unfold-sha256:"
"""What the checksum of weights is called, and how it begins: a flipped bit leaves one of them."""

BLANK = {KEY: KIND + "0" * 64}
"""The metadata to save weights with before they are sealed."""


def seal_weights(content: bytes) -> bytes:
    """A safetensors file saved with `BLANK`, with the SHA-256 of all its bytes in the blank."""
    blank, digest = BLANK[KEY].encode(), hashlib.sha256(content).hexdigest()
    assert blank in content, "the file was saved without its blank"
    return content.replace(blank, KIND.encode() + digest.encode(), 1)


def damage_of_weights(content: bytes) -> str | None:
    """What is wrong with a file of weights; None where it is whole, or was never sealed."""
    header = content[: 8 + int.from_bytes(content[:8], "little")]
    if KEY.encode() not in header and KIND.encode() not in header:
        return None
    found = re.search(f'"{KEY}":"{KIND}([0-9a-f]{{64}})"'.encode(), header)
    if found is None:
        return "its checksum cannot be read"
    at, end = found.span(1)
    digest = hashlib.sha256(content[:at] + b"0" * 64 + content[end:]).hexdigest()
    return None if found[1] == digest.encode() else "its checksum differs"


class Found(NamedTuple):
    """Where a training can go on from.

    path: the newest state that is whole, or None.
    damaged: the newer ones that are not, each with the reason.
    """

    path: Path | None
    damaged: tuple[tuple[Path, str], ...]


def newest_state(folder: Path, names: tuple[str, ...] = (LAST, PREVIOUS)) -> Found:
    """The newest training state in a folder that is as it was written.

    Args:
        folder: of the states.
        names: of their files, the one that is preferred first.
    """
    damaged: list[tuple[Path, str]] = []
    for path in (folder / name for name in names):
        if not path.is_file():
            continue
        reason = damage(path.read_bytes())
        if reason is None:
            return Found(path, tuple(damaged))
        damaged.append((path, reason))
    return Found(None, tuple(damaged))
