"""The version of the configuration that a run stores; other versions are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unfold.errors import ConfigError
from unfold.runs import files

SCHEMA_VERSION = 3
"""Raised when a key is renamed or changes its meaning."""

KEY = "schema_version"


def stored_config(directory: Path) -> dict[str, Any]:
    """The configuration of a run; empty where it terminated before it wrote one.

    Raises:
        ConfigError: it is of another schema version; names the directory.
        RunError: the file is damaged.
    """
    path = directory / "config.yaml"
    config = files.read_yaml(path) if path.exists() else {}
    if not isinstance(config, Mapping):
        raise files.damaged(path, "does not hold a configuration")
    if config and (version := version_of(config)) != SCHEMA_VERSION:
        later = isinstance(version, int) and version > SCHEMA_VERSION
        remedy = (
            "Install a newer unfold." if later else "Repeat the run with runs_dir=DIR elsewhere."
        )
        raise ConfigError(
            f"{path}: {KEY} = {version}: this unfold reads version {SCHEMA_VERSION} only. It was "
            f"written by {'a later' if later else 'an earlier'} one and stays as it is. {remedy}"
        )
    return dict(config)


def version_of(config: Mapping[str, Any]) -> Any:
    """The version that a stored configuration names; 1 where it names none."""
    return config.get(KEY, 1)
