"""The differences of two runs, and of a run and the one that its name stands for."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.catalogue import flat
from unfold.runs.files import stored_config
from unfold.runs.identity import digests, hashed_part
from unfold.runs.redact import redacted

ABSENT = "-"

PLACE = ("accept_code", "runs_dir", "rerun", "trust")
"""Keys that say where and how a run is made, not what it is."""


class Difference(NamedTuple):
    """One thing that is not the same; `-` where it is not there."""

    what: str
    one: str
    other: str


def compare(one: Path, other: Path) -> dict[str, list[Difference]]:
    """The differences of two runs, by section; a section without any is empty."""
    origins = [files.origin_of(path) for path in (one, other)]
    configs = (stored_config(path) for path in (one, other))
    kept = [{k: v for k, v in config.items() if k not in PLACE} for config in configs]
    return {
        "configuration": differences(*kept),
        "code": differences(*map(_code, origins)),
        "environment": differences(*map(_environment, origins)),
        "results": differences(*(files.optional(path / "results.json") for path in (one, other))),
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """The keys, of any depth, whose values are not the same."""
    left, right = flat(one), flat(other)
    keys = sorted({*left, *right} - {""})
    pairs = [(key, left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys]
    return [Difference(key, *legible((a, b))) for key, a, b in pairs if a != b]


def legible(values: Sequence[Any]) -> list[str]:
    """Values as text: numbers with four digits, or as many as make those that differ differ."""

    def text(value: Any, digits: int) -> str:
        short = f"{value:.{digits}g}" if isinstance(value, float) else ""
        return short if short and float(short) != value else str(value)

    texts = [[text(value, digits) for value in values] for digits in range(4, 18)]
    return next(found for found in texts if len(set(found)) == len(set(texts[-1])))


def _code(origin: Mapping[str, Any]) -> dict[str, Any]:
    git = origin["git"] or {}
    # The names of files hold dots, which stand for depth in a configuration and for nothing here.
    return {"version": origin.get("version"), "commit": git.get("commit"), **origin["sources"]}


def _environment(origin: Mapping[str, Any]) -> dict[str, Any]:
    build = {f"build {k}": v for k, v in origin["build"].items() if k in ("blas", "cudnn")}
    return {**origin["packages"], **origin["machine"], **build, "data": origin.get("data")}


PLATFORM = ("torch", "cuda", "capability", "cpu", "threads", "gpus")
"""The fields of a machine that determine bits."""

DECIBELS = 0.05
"""How far a figure in dB may be on another platform."""

RATIO = 10 ** (DECIBELS / 10) - 1
"""The same for every other figure, relative: 1.2 %."""


def platform_differences(one: Path, other: Path) -> list[Difference]:
    """The fields in which the platforms of two runs differ, over all of their starts.

    A field that one of them did not record is ignored.
    """
    left, right = _platforms(one), _platforms(other)
    return [
        Difference(name, " and ".join(sorted(left[name])), " and ".join(sorted(right[name])))
        for name in PLATFORM
        if left[name] and right[name] and left[name] != right[name]
    ]


def _platforms(path: Path) -> dict[str, set[str]]:
    origin = files.origin_of(path)
    machines = [attempt.get("machine", {}) for attempt in origin["attempts"]] or [origin["machine"]]
    return {name: {str(m[name]) for m in machines if name in m} for name in PLATFORM}


def score_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """The scores that differ by more than another platform explains."""
    names = [*one, *(name for name in other if name not in one)]
    pairs = [(name, one.get(name, ABSENT), other.get(name, ABSENT)) for name in names]
    return [Difference(n, *legible((a, b))) for n, a, b in pairs if not _near(n, a, b)]


def _near(name: str, a: Any, b: Any) -> bool:
    if ABSENT in (a, b):
        return False
    if name == "steps" or math.isnan(a) or math.isnan(b):
        return str(a) == str(b)
    if re.search(r"snr|gain", name):
        return bool(abs(a - b) <= DECIBELS)
    return math.isclose(a, b, rel_tol=RATIO)


class Computation(NamedTuple):
    """What a run directory should hold: the configuration as stored, and the hash of the images."""

    config: Mapping[str, Any]
    fingerprint: str


def refuse_foreign(directory: Path, asked: Computation) -> None:
    """Refuse a directory whose files are of another run: edited by hand, or copied there."""
    if not all((directory / name).exists() for name in ("config.yaml", files.ORIGIN)):
        return  # it ended before it wrote the last of them
    stored, origin = stored_config(directory), files.origin_of(directory)
    # Where its weights are gone since, what it wrote down of them counts.
    weights = {**origin["weights"], **digests({"runs_dir": "runs", **stored})}
    there = hashed_part(stored, weights) | {"images": origin.get("data")}
    here = hashed_part(redacted(asked.config), digests(asked.config))
    if found := differences(there, here | {"images": asked.fingerprint}):
        shown = "; ".join(f"{key} = {there} there, {here} asked for" for key, there, here in found)
        raise ConfigError(
            f"{directory} holds another run than its name says; its files were edited or copied: "
            f"{shown}. Move it away, or add rerun=true: what is there moves to attempts/."
        )
