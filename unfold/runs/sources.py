"""Which code made a run: the hash of every source file of the package."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import unfold


@cache
def source_hashes() -> Mapping[str, str]:
    """The first 16 digits of the SHA-256 of each source file, by path inside the package."""
    root = Path(unfold.__path__[0])
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(root.rglob("*.py"))
    }


def differing(recorded: Mapping[str, str]) -> list[str]:
    """The files that changed, came or went since the hashes were recorded."""
    now = source_hashes()
    return sorted(path for path in {*recorded, *now} if recorded.get(path) != now.get(path))
