"""The differences of two runs: configuration, code, environment and results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from unfold.runs import files
from unfold.runs.catalogue import flat
from unfold.runs.version import stored_config

ABSENT = "-"

PLACE = ("accept_code", "runs_dir", "rerun", "trust")
"""Keys that say where and how a run is made, not what it is."""


class Difference(NamedTuple):
    """One thing that is not the same; `-` where it is not there."""

    what: str
    one: str
    other: str


def compare(one: Path, other: Path) -> dict[str, list[Difference]]:
    """The differences of two runs, by section; a section without any is empty.

    Raises:
        RunError: a file of one of them is missing or damaged.
    """
    origins = [files.read_json(path / "provenance.json") for path in (one, other)]
    configs = [stored_config(path) for path in (one, other)]
    return {
        "configuration": differences(*(_without(config, PLACE) for config in configs)),
        "code": differences(*(_code(origin) for origin in origins)),
        "environment": differences(*(_environment(origin) for origin in origins)),
        "results": differences(*(_results(path) for path in (one, other))),
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """The keys, of any depth, whose values are not the same."""
    left, right = flat(one), flat(other)
    keys = sorted({*left, *right} - {""})
    pairs = [(key, left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys]
    return [Difference(key, str(a), str(b)) for key, a, b in pairs if a != b]


def _without(content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _code(origin: Mapping[str, Any]) -> dict[str, Any]:
    git = origin.get("git") or {}
    # The names of files hold dots, which stand for depth in a configuration and for nothing here.
    return {"version": origin.get("version"), "commit": git.get("commit"), **origin["sources"]}


def _environment(origin: Mapping[str, Any]) -> dict[str, Any]:
    build = {f"build {k}": v for k, v in origin.get("build", {}).items() if k in ("blas", "cudnn")}
    return {**origin["packages"], **origin["machine"], **build, "data": origin["data"]}


def _results(path: Path) -> dict[str, Any]:
    file = path / "results.json"
    return files.read_json(file) if file.exists() else {}
