"""The files of a run directory, replaced atomically, and its configuration with its version."""

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from unfold.disk import odd_entries, read_bytes, write_text
from unfold.errors import ConfigError, RunError, listing

ORIGIN = "provenance.json"

RANGES = "ranges.json"
"""Between which norms, noises and samplings a run was trained."""

REPEAT = "Repeat the run with rerun=true."


def sha256(path: Path) -> str:
    """The SHA-256 of a file; computed once for a file that has not changed for two seconds."""
    found = path.stat()
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    if time.time_ns() - newest < 2_000_000_000:  # a later change might have the same time
        return _sha256(path)
    return _known(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, newest)


@lru_cache(maxsize=20_000)
def _known(path: Path, *_: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file by `content` as JSON."""
    write_text(path, json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """What is written of `content`; a number that is not finite, which JSON has not, is null."""
    return json.dumps(_finite(content), indent=2, default=str, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file."""
    try:
        content = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}. {REPEAT}") from error
    if not isinstance(content, dict):
        raise damaged(path, "does not hold a JSON object")
    return content


def optional(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where there is no file."""
    return read_json(path) if os.path.lexists(path) else {}


KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("build", "folders", "machine", "packages"), dict),
    **dict.fromkeys(("choices", "pixels", "sources", "weights"), str),  # a mapping to text
    **{"attempts": list, "git": (dict, type(None))},
}
"""What entries of the provenance hold."""


def origin_of(directory: Path) -> dict[str, Any]:
    """The provenance of a run, its entries of the kind they should have, empty where there is none.

    Raises:
        RunError: the file is damaged, or an entry is of another kind.
    """
    path = directory / ORIGIN
    origin = optional(path)
    starts = origin.get("attempts", [])
    found = {"": origin}
    if isinstance(starts, list):
        found |= {f"attempts[{i}].": one for i, one in enumerate(starts)}
    odd = [name for name, one in found.items() if type(one) is not dict]
    odd += [
        f"{name}{key}"
        for name, one in found.items()
        if type(one) is dict
        for key, kind in KINDS.items()
        if key in one and not _is_kind(one[key], kind)
    ]
    if odd:
        raise damaged(path, f"has values of another kind ({listing(odd)})")
    return {k: [] if k == "attempts" else {} for k in KINDS} | origin if origin else {}


def _is_kind(value: Any, kind: Any) -> bool:
    if kind is str:
        return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return isinstance(value, kind)


def damaged(path: Path, reason: str) -> RunError:
    """The error of a file whose content cannot be used."""
    return RunError(f"{path} is damaged: it {reason}. {REPEAT}")


def write_yaml(path: Path, content: Any) -> None:
    """Replace a file by `content` as YAML, keys in their order."""
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, plain values only; a RunError where it is missing or is not."""
    try:
        return parse_yaml(path)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}. {REPEAT}") from error


YAML_BYTES, YAML_NODES = 2**20, 100_000
"""The most that a YAML file may have, and may unfold to by its aliases."""


def parse_yaml(path: Path) -> Any:
    """The plain values in a YAML file.

    Raises:
        OSError: it is no regular file, or too large.
        YAMLError, ValueError, RecursionError: it is not YAML, or its aliases unfold to too much.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(read_bytes(path, YAML_BYTES))
    try:
        node = loader.get_single_node()
        if _nodes(node, {}) > YAML_NODES:
            raise ValueError(f"its aliases unfold to more than {YAML_NODES} values")
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _nodes(node: Any, known: dict[int, int]) -> int:
    """How many nodes there are without aliases; one that holds itself is endless."""
    if id(node) not in known:
        known[id(node)] = YAML_NODES + 1
        value = getattr(node, "value", None)
        inner = value if isinstance(value, list) else ()
        flat = (one for item in inner for one in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_nodes(one, known) for one in flat)
    return known[id(node)]


NOT_EXAMINED = ("attempts", "wandb")
"""Former contents, which nothing reads, and the folder of a program that makes links."""


def expect_plain(directory: Path) -> None:
    """Refuse a run directory that holds anything but files and folders, as a stranger's may.

    Raises:
        RunError: names a link, a pipe or a device.
    """
    if odd := next(odd_entries(directory, NOT_EXAMINED), None):
        raise RunError(
            f"{odd} is a link, a pipe or a device, and a run directory holds files and folders. "
            f"Remove it, or repeat the run with rerun=true; what is there moves to attempts/."
        )


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
    config = read_yaml(path) if os.path.lexists(path) else {}
    if not isinstance(config, Mapping):
        raise damaged(path, "does not hold a configuration")
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
