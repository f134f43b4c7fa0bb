"""The seal of a finished run, or evaluation: a manifest of its files, bound to its status.

The manifest holds the SHA-256 of each file and the name of its directory; the status holds one hash
of the manifest and of itself. A file that is deleted, truncated, edited, added or replaced by that
of another run is named.
"""

import hashlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from unfold.disk import read_bytes
from unfold.errors import RunError, UnfoldError
from unfold.runs import files, status
from unfold.runs.files import sha256

MANIFEST = "manifest.json"

NOT_SEALED = frozenset({".lock", "status.json", MANIFEST, "attempts", "evaluations", "wandb"})
"""What is written later, has its own seal, or belongs to another program."""

REPLAYED = frozenset({"tensorboard", "mlruns", "mlflow.json", "wandb.json"})
"""What another logger, to which the curves are sent later, may add."""

ROWS = "evaluation/rows.csv"

COST = "evaluation/cost.json"

SHOWN = ("metrics.csv", "evaluation/shown.json", "evaluation/shown.npz")

READ = ("config.yaml", "overrides.yaml", "provenance.json", "results.json", ROWS, COST, *SHOWN)
"""The files that a list, a table or a report of runs reads."""

SETTLED = 20_000_000
"""Nanoseconds after which a change of a file gets another time."""


def finish(directory: Path, now: status.Status, owner: str | None = None) -> None:
    """Write the manifest of a directory, then the status of a finished run, bound to it.

    The owner is the name of the directory, or "" of one that may be renamed.
    """
    found = {name: (directory / name).stat() for name in _files(directory)}
    until = time.time_ns() - SETTLED
    content = {
        "owner": directory.name if owner is None else owner,
        "files": {name: sha256(directory / name) for name in found},
        "sizes": {name: stat.st_size for name, stat in found.items()},
        "times": {n: stat.st_mtime_ns for n, stat in found.items() if stat.st_mtime_ns < until},
    }
    files.write_json(directory / MANIFEST, content)
    status.write(directory, replace(now, seal=_seal(directory, now)))


def _seal(directory: Path, now: status.Status) -> str:
    own = files.json_text(asdict(replace(now, seal="")))
    return hashlib.sha256(read_bytes(directory / MANIFEST) + own.encode()).hexdigest()


def _files(directory: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        if Path(folder) == directory:
            folders[:], names = (sorted(set(found) - NOT_SEALED) for found in (folders, names))
        for path in (Path(folder) / name for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(directory))


def _broken(
    directory: Path, now: status.Status, names: Collection[str], movable: bool
) -> list[str]:
    """What is not as it was when the directory was sealed, in words; empty where all is."""
    try:
        written = read_bytes(directory / "status.json").decode()
        if _seal(directory, now) != now.seal or written != files.json_text(asdict(now)):
            return [f"{MANIFEST} and status.json do not belong together"]
        content = files.read_json(directory / MANIFEST)
        owner, sealed = content["owner"], dict(content["files"])
        # Runs were not always sealed with sizes and times.
        sizes, times = (dict(content.get(key, {})) for key in ("sizes", "times"))
    except OSError:
        return [f"{MANIFEST} is missing"]
    except (UnfoldError, KeyError, TypeError, ValueError):
        return [f"{MANIFEST} is damaged"]
    if owner != directory.name and not (movable and owner == ""):
        return [f"its files are those of {owner or 'an exported folder, which is no run'}"]
    there = [name for name in _files(directory) if name.partition("/")[0] not in REPLAYED]
    found = []
    for name in names or dict.fromkeys((*sealed, *there)):
        path = directory / name
        if name not in sealed:
            found += [f"{name} was added"] if path.exists() else []
        elif path.is_symlink() or not path.is_file():
            found.append(f"{name} is missing")
        elif sizes.get(name, size := path.stat().st_size) != size:
            found.append(f"{name} was changed")
        elif not (names and times.get(name) == path.stat().st_mtime_ns):
            found += [f"{name} was changed"] if sha256(path) != sealed[name] else []
    return found


def verify(directory: Path, names: Collection[str] = (), *, movable: bool = False) -> None:
    """Refuse a finished run that is not as it was when it finished.

    Args:
        directory: of the run.
        names: of the files to compare, quickly: one of the size and the time that it had then is
            not read. Every file is hashed, and none may have been added, if empty.
        movable: whether it may be an exported folder, whose seal names no place.

    Raises:
        RunError: names the files.
    """
    if text := complaint(directory, names, movable=movable):
        raise RunError(text)


def complaint(directory: Path, names: Collection[str] = (), *, movable: bool = False) -> str:
    """What is not as it was, with the remedy; empty where all is, or nothing was sealed."""
    now = status.read(directory)
    if now is None:
        found = ["status.json is missing"] if (directory / MANIFEST).exists() else []
    else:
        # The seal of a run that is not finished is empty.
        ended = now.state == "finished" or bool(now.seal)
        found = _broken(directory, now, names, movable) if ended else []
    if not found:
        return ""
    return (
        f"{directory} is not as it was when it finished: {'; '.join(found[:8])}. The command that "
        "made it repeats it with rerun=true; what is there moves to attempts/."
    )
