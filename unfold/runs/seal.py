"""The seal of a finished run, or evaluation: a manifest of its files, bound to its status.

The manifest holds the SHA-256 of each file and the name of its directory; the status holds one hash
of the manifest and of itself. A file that is deleted, truncated, edited or replaced by that of
another run is named.
"""

import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from unfold.errors import RunError, UnfoldError
from unfold.runs import files, status
from unfold.runs.files import sha256

MANIFEST = "manifest.json"

NOT_SEALED = frozenset({".lock", "status.json", MANIFEST, "attempts", "evaluations", "wandb"})
"""What is written later, has its own seal, or belongs to another program."""

ROWS = "evaluation/rows.csv"

READ = ("config.yaml", "overrides.yaml", "provenance.json", "results.json", ROWS)
"""The files that a list or a table of runs reads."""


def finish(directory: Path, now: status.Status) -> None:
    """Write the manifest of a directory, then the status of a finished run, bound to it."""
    content = {"owner": directory.name, "files": dict(_hashes(directory))}
    files.write_json(directory / MANIFEST, content)
    status.write(directory, replace(now, seal=_seal(directory, now)))


def _seal(directory: Path, now: status.Status) -> str:
    own = files.json_text(asdict(replace(now, seal="")))
    return hashlib.sha256((directory / MANIFEST).read_bytes() + own.encode()).hexdigest()


def _hashes(directory: Path) -> Iterator[tuple[str, str]]:
    for folder, folders, names in os.walk(directory):
        if Path(folder) == directory:
            folders[:], names = (sorted(set(found) - NOT_SEALED) for found in (folders, names))
        for path in (Path(folder) / name for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(directory)), sha256(path)


def _broken(directory: Path, now: status.Status, names: Collection[str] = ()) -> list[str]:
    """What is not as it was when the directory was sealed, in words; empty where all is.

    Args:
        directory: of the run.
        now: its status.
        names: the files to compare; all if empty. Other files, if they are read, are no part of it.
    """
    try:
        written = (directory / "status.json").read_text(encoding="utf-8")
        if _seal(directory, now) != now.seal or written != files.json_text(asdict(now)):
            return [f"{MANIFEST} and status.json do not belong together"]
        content = files.read_json(directory / MANIFEST)
        owner, sealed = content["owner"], dict(content["files"])
    except OSError:
        return [f"{MANIFEST} is missing"]
    except (UnfoldError, KeyError, TypeError, ValueError):
        return [f"{MANIFEST} is damaged"]
    if owner != directory.name:
        return [f"its files are those of {owner}"]
    chosen = [name for name in names or sealed if name in sealed or (directory / name).exists()]
    return [found for name in chosen if (found := _changed(directory, name, sealed.get(name)))]


def _changed(directory: Path, name: str, digest: str | None) -> str | None:
    path = directory / name
    if digest is None:
        return f"{name} was added"
    if path.is_symlink() or not path.is_file():
        return f"{name} is missing"
    return None if sha256(path) == digest else f"{name} was changed"


def verify(directory: Path, names: Collection[str] = ()) -> None:
    """Refuse a finished run that is not as it was when it finished, with the files named.

    Raises:
        RunError: names the files.
    """
    if text := complaint(directory, names):
        raise RunError(text)


def complaint(directory: Path, names: Collection[str] = ()) -> str:
    """What is not as it was, with the remedy; empty where all is, or nothing was sealed."""
    now = status.read(directory)
    if now is None:
        found = ["status.json is missing"] if (directory / MANIFEST).exists() else []
    else:
        # The seal of a run that is not finished is empty.
        found = _broken(directory, now, names) if now.state == "finished" or now.seal else []
    if not found:
        return ""
    return (
        f"{directory} is not as it was when it finished: {'; '.join(found[:8])}. The command that "
        "made it repeats it with rerun=true; what is there moves to attempts/."
    )
