"""The runs of a folder: what they are, how they terminated, what they scored."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from unfold.disk import expand
from unfold.errors import ConfigError, RunError, UnfoldError, listing, nearest
from unfold.runs import files, status
from unfold.runs.files import ORIGIN, SCHEMA_VERSION, origin_of, stored_config, version_of
from unfold.runs.processes import is_held
from unfold.runs.seal import COST, MANIFEST, READ, verify


@dataclass(frozen=True)
class Entry:
    """One run, read from its directory.

    Args:
        name: its path inside the folder of all runs.
        state: finished, running, failed, preempted, killed where its process is gone, damaged, or
            the schema version of a run that this version cannot read.
        config: its configuration as stored; empty where it terminated before it wrote one.
        scores: what it measured; empty until it is finished.
        folders: of the user's own options that it was composed with.
        sets: `validation_set` and `test_set`, 8 digits of the SHA-256 of their images.
    """

    path: Path
    name: str
    state: str
    status: status.Status
    config: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    sets: Mapping[str, str] = field(default_factory=dict)

    def get(self, key: str) -> str | None:
        """The option of a group, a set of images, or the value of a key; None without it.

        `run` is its name.
        """
        if key in self.choices:
            return self.choices[key]
        values = {"run": self.name, **flat(self.config), **self.sets}
        return str(values[key]) if key in values else None


def find_runs(root: Path) -> list[Path]:
    """Every run directory under a folder, the newest first."""
    found = {path.parent for name in MARKS for path in root.glob(f"*/*/{name}")}
    return sorted(found, key=_updated, reverse=True)


MARKS = ("status.json", "config.yaml", MANIFEST)
"""Files by any of which a run directory is known, as each can be lost."""


def _updated(path: Path) -> float:
    status_file = path / "status.json"
    return status_file.lstat().st_mtime if status_file.exists() else 0.0


def catalogue(root: Path, pattern: str = "*") -> list[Entry]:
    """The runs under a folder whose name fits a pattern of the shell, the newest first.

    The pattern is of the name, `pgd-*`, or of the path, `pgd-*/m1*` inside the folder or
    `runs/pgd-*/*` with it, wherever the folder is.

    Raises:
        ConfigError: there are runs, and none fits.
    """
    paths = find_runs(root)
    found = [path for path in paths if _fits(path, root, os.path.normpath(pattern))]
    if paths and not found:
        near = nearest(pattern, {path.parent.name for path in paths})
        raise ConfigError(
            f"{pattern}: none of the {len(paths)} runs in {root} fits{near} unfold list shows them."
        )
    return [read_entry(path, str(path.relative_to(root))) for path in found]


def _fits(path: Path, root: Path, pattern: str) -> bool:
    """Whether a pattern is of the name, or of the path: inside the root, with it, or in full."""
    inside, full = path.relative_to(root), path.resolve()
    with_root = root.resolve().name / inside
    names = (path.parent.name, str(inside), str(with_root), str(full))
    typed = str(expand(pattern, "pattern").absolute())
    return any(fnmatch(name, pattern) for name in names) or fnmatch(str(full), typed)


def read_entry(
    path: Path, name: str, compared: Sequence[str] = READ, *, movable: bool = False
) -> Entry:
    """Read a run, finished or not; one of which a file is damaged has that as its reason.

    `compared` are the files that are compared with the seal; all if empty. An exported folder is
    one where it is `movable`.
    """
    try:
        written, stored = _status(path), path / "config.yaml"
        config = files.read_yaml(stored) if stored.exists() else {}
        if isinstance(config, Mapping) and config and version_of(config) != SCHEMA_VERSION:
            return Entry(path, name, f"schema {version_of(config)}", written)
        verify(path, compared, movable=movable)
        entry = Entry(path, name, written.state, written, stored_config(path))
        return _entry(entry, origin_of(path))
    except (UnfoldError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        return Entry(path, name, "damaged", replace(status.start(), updated="", reason=reason))


def read_reference(text: str, runs_dir: str | Path = "runs") -> Entry:
    """The run that `text` names: a directory, or its path inside `runs_dir`, or the end of it.

    Raises:
        ConfigError: there is no such run; names the nearest.
            Or it was written by another version of unfold.
        RunError: the directory is not a run, or a file of it is missing or damaged.
    """
    path = locate(text, Path(runs_dir))
    written, config = _status(path), stored_config(path)
    verify(path, movable=is_movable(path, runs_dir))
    typed = files.read_yaml(path / "overrides.yaml")
    if not (origin := origin_of(path)):
        raise RunError(f"{path / ORIGIN} is missing. {files.REPEAT}")
    if not config or not isinstance(typed, list):
        raise RunError(f"{path}: config.yaml or overrides.yaml is damaged. Repeat the run.")
    overrides = tuple(map(str, typed))
    entry = Entry(path, path.name, written.state, written, config, overrides=overrides)
    return _entry(entry, origin)


def _entry(read: Entry, origin: Mapping[str, Any]) -> Entry:
    """The entry with what its provenance, its lock and its results add."""
    results, _ = (
        _scores(read.path / name) if read.state == "finished" else {}
        for name in ("results.json", COST)
    )
    gone = read.state == "running" and not is_held(read.path / ".lock")
    return replace(
        read,
        state="killed" if gone else read.state,
        choices=origin.get("choices", {}),
        scores={key: math.nan if value is None else value for key, value in results.items()},
        folders=tuple(map(Path, origin.get("folders", {}))),
        sets={f"{split}_set": hash[:8] for split, hash in origin.get("pixels", {}).items()},
    )


def _scores(path: Path) -> dict[str, Any]:
    found = files.optional(path)
    if bad := [key for key, value in found.items() if not _is_score(value)]:
        raise files.damaged(path, f"has scores that are none ({listing(bad)})")
    return found


def _is_score(value: object) -> bool:
    """Whether a score is a number, or null for one that is not finite."""
    return value is None or (type(value) in (int, float) and abs(value) < 1e300)  # type: ignore[arg-type]


def _status(path: Path) -> status.Status:
    written = status.read(path)
    if written is None:
        verify(path)
        raise RunError(
            f"{path} is no run directory: it has no status.json. Name a directory in it."
        )
    return written


PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""The runs that come with unfold."""


def is_movable(path: Path, runs_dir: str | Path) -> bool:
    """Whether no run can be at a directory, so that it may be an exported folder."""
    return path.resolve().parents[1:2] != (Path(runs_dir).resolve(),)


def locate(text: str, runs_dir: Path) -> Path:
    """The directory that `text` names, as `read_reference` reads it."""
    for candidate in (expand(text, "run"), runs_dir / text):
        if candidate.is_dir():
            return candidate.resolve()
    known = {str(path.relative_to(runs_dir)): path for path in find_runs(runs_dir)}
    ends = [path for name, path in known.items() if text and name.endswith(text)]
    if len(ends) == 1:
        return ends[0].resolve()
    if text in (own := {path.name for path in PRETRAINED.glob("*") if path.is_dir()}):
        return PRETRAINED / text
    near = nearest(text, {*known, *own})
    raise ConfigError(f"run = {text}: no such run{near} Runs in {runs_dir}: {listing(known)}.")


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every scalar of a nested configuration, by its full key."""
    items: Sequence[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        items = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    inner = {k: v for key, item in items for k, v in flat(item, key).items()}
    return inner if items else {path: value}
