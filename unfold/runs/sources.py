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
    """The first 16 digits of the SHA-256 of each source file.

    Those of unfold by their path inside the package; those of the packages in `trust` by the path
    that begins with the name of the package.
    """
    own = dict(pair for name in trust for pair in _files_of(name))
    return {**_packaged(), **own}


@cache
def _packaged() -> Mapping[str, str]:
    root = Path(unfold.__path__[0])
    return {str(path.relative_to(root)): _digest(path) for path in sorted(root.rglob("*.py"))}


def _files_of(package: str) -> Iterator[tuple[str, str]]:
    """The files of a module, a package or a namespace, which is not imported for this."""
    spec = find_spec(package)
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        origin = Path(str(spec.origin))
        yield origin.name, _digest(origin)
    for number, place in enumerate(spec.submodule_search_locations or ()):
        root = f"{package}{f'[{number}]' if number else ''}"  # a namespace may have several
        for path in sorted(Path(place).rglob("*")):
            if path.suffix in READ and path.is_file():
                yield f"{root}/{path.relative_to(place)}", _digest(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def differing(recorded: Mapping[str, str], trust: Sequence[str] = ()) -> list[str]:
    """The files that changed, came or went since the hashes were recorded."""
    now = source_hashes(trust)
    return sorted(path for path in {*recorded, *now} if recorded.get(path) != now.get(path))
