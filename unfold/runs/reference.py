"""A run that the user names: `run=DIR`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unfold.errors import ConfigError, RunError, listing, nearest
from unfold.runs import files, status
from unfold.runs.version import stored_config


@dataclass(frozen=True)
class Reference:
    """A run directory, read.

    Args:
        path: the directory.
        config: the configuration as it was stored.
        choices: the option chosen in each group.
        overrides: that made it.
        status: how it ended.
        folders: of the user's own options that it was composed with.
    """

    path: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    status: status.Status
    folders: tuple[Path, ...] = ()


def find_runs(root: Path) -> list[Path]:
    """Every run directory under a folder, the newest first."""
    found = [path.parent for path in root.glob("*/*/status.json")]
    return sorted(found, key=lambda path: (path / "status.json").stat().st_mtime, reverse=True)


def read_reference(text: str, runs_dir: str | Path = "runs") -> Reference:
    """The run that `text` names: a directory, or its path inside `runs_dir`.

    Raises:
        ConfigError: there is no such run; names the nearest.
            Or it was written by another version of unfold.
        RunError: the directory is not a run, or a file of it is damaged.
    """
    path = _locate(text, Path(runs_dir))
    state = status.read(path)
    if state is None:
        raise RunError(
            f"{path} is no run directory: it has no status.json. Name a directory in it."
        )
    config = stored_config(path)
    overrides = files.read_yaml(path / "overrides.yaml")
    origin = files.read_json(path / "provenance.json")
    choices = origin.get("choices", {})
    folders = tuple(map(Path, origin.get("folders", {})))
    if not config or not isinstance(overrides, list):
        raise RunError(f"{path}: config.yaml or overrides.yaml is damaged. Repeat the run.")
    return Reference(path, config, choices, tuple(map(str, overrides)), state, folders)


def _locate(text: str, runs_dir: Path) -> Path:
    for candidate in (Path(text).expanduser(), runs_dir / text):
        if candidate.is_dir():
            return candidate.resolve()
    known = {str(path.relative_to(runs_dir)): path for path in find_runs(runs_dir)}
    ends = [path for name, path in known.items() if text and name.endswith(text)]
    if len(ends) == 1:
        return ends[0].resolve()
    near = nearest(text, known)
    raise ConfigError(f"run = {text}: no such run{near} Runs in {runs_dir}: {listing(known)}.")
