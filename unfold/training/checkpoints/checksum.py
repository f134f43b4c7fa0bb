"""Checksums inside files: truncated or altered files are detected.

A checkpoint is a zip archive, with its checksum in the comment of the archive; weights are a
safetensors file, with theirs in its metadata. Each stays one file, in its standard format, and is
replaced by one rename.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from unfold.arrays import loadable
from unfold.disk import damage, read_bytes
from unfold.disk import with_checksum as with_checksum

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
"""The newest checkpoint of a run, and the previous one."""

KEY, KIND = "unfold_checksum", "unfold-sha256:"
"""The name and the prefix of the checksum of weights: a flipped bit leaves one of them intact."""

BLANK = KIND + "0" * 64
"""How the metadata of weights begin before their checksum is known; more may follow."""


def weights_with_checksum(content: bytes) -> bytes:
    """A safetensors file saved with `BLANK`, with the SHA-256 of all its bytes in the blank."""
    blank, digest = BLANK.encode(), hashlib.sha256(content).hexdigest()
    assert blank in content, "the file was saved without its blank"
    return content.replace(blank, KIND.encode() + digest.encode(), 1)


def damage_of_weights(content: bytes) -> str | None:
    """What is wrong with a weights file; None where it is intact, or has no checksum."""
    header = content[: 8 + int.from_bytes(content[:8], "little")]
    if KEY.encode() not in header and KIND.encode() not in header:
        return None
    found = re.search(f'"{KEY}":"{KIND}([0-9a-f]{{64}})[ "]'.encode(), header)
    if found is None:
        return "its checksum cannot be read"
    at, end = found.span(1)
    digest = hashlib.sha256(content[:at] + b"0" * 64 + content[end:]).hexdigest()
    return None if found[1] == digest.encode() else "its checksum differs"


class NewestCheckpoint(NamedTuple):
    """The newest intact checkpoint, and newer ones that are damaged, each with the reason."""

    path: Path | None
    damaged: tuple[tuple[Path, str], ...]


def newest_checkpoint(folder: Path) -> NewestCheckpoint:
    """The newest intact checkpoint in a folder."""
    damaged: list[tuple[Path, str]] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.is_file():
            continue
        try:
            reason = damage(read_bytes(path, loadable()))
        except OSError as error:
            reason = str(error)
        if reason is None:
            return NewestCheckpoint(path, tuple(damaged))
        damaged.append((path, reason))
    return NewestCheckpoint(None, tuple(damaged))
