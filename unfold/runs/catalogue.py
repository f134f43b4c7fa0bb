"""The runs of a folder: what they are, how they ended, what they scored."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from unfold.errors import ConfigError, RunError, nearest
from unfold.runs import files, status
from unfold.runs.lock import is_held
from unfold.runs.reference import find_runs
from unfold.runs.version import SCHEMA_VERSION, version_of


@dataclass(frozen=True)
class Entry:
    """One run.

    Args:
        path: its directory.
        name: its path inside the folder of all runs.
        state: finished, running, failed, preempted, killed where its process is gone, or the schema
            version of a run that this version cannot read.
        updated: when its status was written, in UTC.
        config: its configuration; empty where it terminated before it wrote one.
        choices: the option of each group.
        scores: what it measured; empty until it is finished.
    """

    path: Path
    name: str
    state: str
    updated: str
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    scores: Mapping[str, float]

    def get(self, key: str) -> str | None:
        """The option of a group, or the value of a key of the configuration; None without it."""
        if key in self.choices:
            return self.choices[key]
        values = flat(self.config)
        return str(values[key]) if key in values else None


def catalogue(root: Path, pattern: str = "*") -> list[Entry]:
    """The runs under a folder whose name fits a pattern of the shell, the newest first.

    Args:
        root: the folder of all runs.
        pattern: of the name, `pgd-*`, or of the path, `pgd-*/m1*` inside the folder or
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
    typed = str(Path(pattern).expanduser().absolute())
    return any(fnmatch(name, pattern) for name in names) or fnmatch(str(full), typed)


def read_entry(path: Path, name: str) -> Entry:
    """Read a run, finished or not.

    Raises:
        RunError: a file of it is damaged.
    """
    state = status.read(path)
    if state is None:
        raise RunError(f"{path} is no run directory: it has no status.json.")
    gone = state.state == "running" and not is_held(path / ".lock")
    stored = path / "config.yaml"
    config = files.read_yaml(stored) if stored.exists() else {}
    if config and version_of(config) != SCHEMA_VERSION:
        return Entry(path, name, f"schema {version_of(config)}", state.updated, {}, {}, {})
    origin = _optional(path / "provenance.json")
    finished = state.state == "finished"
    return Entry(
        path=path,
        name=name,
        state="killed" if gone else state.state,
        updated=state.updated,
        config=config,
        choices=origin.get("choices", {}),
        scores=_optional(path / "results.json") if finished else {},
    )


def _optional(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.exists() else {}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every scalar of a nested configuration, by its full key."""
    return dict(_items(value, path))


def _items(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    inner: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    if not inner:
        yield path, value
    for key, item in inner:
        yield from _items(item, key)
