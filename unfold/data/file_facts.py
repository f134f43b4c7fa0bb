"""What is known of a data file, computed once and cached by its path, size, time and inode."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from unfold.arrays import parts
from unfold.disk import read_bytes, write_bytes
from unfold.errors import ConfigError, DataError, RunError

T = TypeVar("T")

VERSION = 2
"""Part of every key: raise it where the readers change."""


class FileFacts(NamedTuple):
    """Of one file.

    size: in bytes.
    digest: SHA-256 of its bytes, in hexadecimal.
    kinds: of its examples, in order.
    fault: why it cannot be used; empty where it can.
    """

    size: int
    digest: str
    kinds: tuple[tuple[Any, ...], ...]
    fault: str

    @property
    def numbered(self) -> list[tuple[int, tuple[Any, ...]]]:
        """The places of the examples, and their kinds."""
        return list(enumerate(self.kinds))


def fingerprint(splits: Mapping[str, Sequence[tuple[str, int, str]]]) -> str:
    """SHA-256, in hexadecimal, of the names, sizes and digests of the files of each split."""
    content = {split: sorted(files) for split, files in splits.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def readable(path: Path, read: Callable[[], T]) -> T:
    """What a reader finds in a file; a library's own errors, of many kinds, are a `DataError`."""
    try:
        return read()
    except (DataError, ConfigError):
        raise
    except Exception as error:
        text = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {text}).") from error


def cache_folder() -> Path:
    """Where facts are kept: `$XDG_CACHE_HOME/unfold`, by default ~/.cache/unfold."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unfold" / "files"


def facts_of(
    path: Path,
    kinds: Callable[[], list[tuple[Any, ...]]],
    settings: Mapping[str, Any],
    fresh: bool = False,
) -> FileFacts:
    """The facts of a file; an unchanged file that is known is not opened.

    Args:
        path: of the file.
        kinds: reads the kinds of its examples; raises a `DataError` where it cannot be used.
        settings: what they depend on besides the file.
        fresh: whether the file is read again, known or not.
    """
    every = parts(path)
    stats = [part.stat() for part in every]
    size = sum(stat.st_size for stat in stats)
    identity: list[Any] = [VERSION, str(path.resolve())]
    for stat in stats:
        identity += [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    key = hashlib.sha256(json.dumps([identity, settings], sort_keys=True).encode()).hexdigest()
    cached = cache_folder() / f"{key}.json"
    if not fresh and (known := _read(cached, key)) is not None:
        return known
    digests = []
    for part in every:
        with part.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    named = [f"{p.relative_to(path)} {own}" for p, own in zip(every, digests, strict=True)]
    digest = hashlib.sha256("\n".join(named).encode()).hexdigest() if path.is_dir() else digests[0]
    try:
        found = FileFacts(size, digest, tuple(kinds()), "")
    except DataError as error:
        found = FileFacts(size, digest, (), str(error))
    with suppress(RunError):  # a home folder that cannot be written costs time, not the run
        _write(cached, key, found)
    return found


def _write(path: Path, key: str, found: FileFacts) -> None:
    text = json.dumps(found)
    checksum = hashlib.sha256(f"{key}{text}".encode()).hexdigest()
    write_bytes(path, json.dumps({"facts": text, "sha256": checksum}).encode())


def _read(path: Path, key: str) -> FileFacts | None:
    """What was written for this key, intact; None for anything else."""
    try:
        stored = json.loads(read_bytes(path))
        text = stored["facts"]
        if hashlib.sha256(f"{key}{text}".encode()).hexdigest() != stored["sha256"]:
            return None
        size, digest, kinds, fault = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return FileFacts(size, digest, tuple(_tuples(kind) for kind in kinds), fault)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
