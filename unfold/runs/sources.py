"""The code that computes the numbers of a run: that of unfold, and of packages of the user."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import unfold

READ = (".json", ".py", ".pyd", ".so", ".toml", ".yaml", ".yml")
"""The files of a user's package that its code is, or reads its options from."""


def source_hashes(trust: Sequence[str] = ()) -> dict[str, str]:
    """The first 16 digits of the SHA-256 of each source file, by its path.

    Those of unfold have the path inside the package; those of the packages in `trust`, which are
    not imported for this, have one that begins with the name of the package.
    """
    return {**_packaged(), **dict(pair for name in trust for pair in _of_package(name))}


@cache
def _packaged() -> Mapping[str, str]:
    return hashes(Path(unfold.__path__[0]), (".py",))


def _of_package(name: str) -> Iterator[tuple[str, str]]:
    spec = find_spec(name)
    if spec is None:
        return
    if spec.submodule_search_locations is None:  # a module
        yield Path(str(spec.origin)).name, _digest(Path(str(spec.origin)))
    for number, place in enumerate(spec.submodule_search_locations or ()):
        root = f"{name}[{number}]" if number else name  # a namespace may have several
        yield from ((f"{root}/{path}", one) for path, one in hashes(Path(place), READ).items())


def hashes(root: Path, kinds: Sequence[str]) -> dict[str, str]:
    """The first 16 digits of the SHA-256 of the files of some kinds, at any depth of a folder."""
    found = (path for path in sorted(root.rglob("*")) if path.suffix in kinds and path.is_file())
    return {str(path.relative_to(root)): _digest(path) for path in found}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def differing(recorded: Mapping[str, str], trust: Sequence[str] = ()) -> list[str]:
    """The files that changed, came or went since the hashes were recorded."""
    now = source_hashes(trust)
    return sorted(path for path in {*recorded, *now} if recorded.get(path) != now.get(path))
