"""The name of a run: the same computation has the same directory, on every machine."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unfold.disk import expand
from unfold.errors import ConfigError
from unfold.runs.catalogue import flat
from unfold.runs.files import sha256
from unfold.runs.sources import source_hashes
from unfold.runs.weights import EXTEND, digests

LEFT_OUT = frozenset(
    {
        "accept_code",
        "data.root",  # the fingerprint says what is in them, wherever they are
        "data.test_root",
        "data.validation_root",
        "data.workers",
        "logger",
        "name",  # in the slug
        "rerun",
        "runs_dir",
        "schema_version",
        "strict",
        "trainer.checkpoint_every",
        "trainer.images_every",
        "trainer.log_every",
        "trainer.log_gradient_norm",
        "trainer.progress",
        "trust",
    }
)
"""Keys that cannot change a number; every other key is part of the hash."""


def slug(choices: Mapping[str, str], name: str | None) -> str:
    """A readable name: algorithm, prior, physics, the model unless it is the usual one, `name`."""
    parts = [choices[group] for group in ("algo", "prior", "physics") if group in choices]
    if choices["model"] != "unfolded":
        parts.append(choices["model"])
    if name:
        parts.append(name)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).lstrip(".")[:160]


def identity(config: Mapping[str, Any], fingerprint: str) -> str:
    """A letter and 7 hexadecimal digits, of everything that can change a number.

    The letter keeps a command line from reading the name as a number, as it would 99244e02.
    """
    kept = hashed_part(config, digests(config))
    content = {"config": kept, "data": fingerprint, "files": _files(kept)}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return "ghijklmnopqrstuv"[int(digest[0], 16)] + digest[1:8]


TRAINING = ("extend", "init_from", "loss", "objective", "optimizer", "scheduler", "trainer")
"""Keys that cannot change an evaluation of given weights, except `trainer.precision`."""


def conditions(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that can change an evaluation of given weights."""
    kept = hashed_part({k: v for k, v in config.items() if k not in TRAINING}, {})
    return kept | {"precision": config.get("trainer", {}).get("precision")}


def evaluation_name(
    config: Mapping[str, Any], choices: Mapping[str, str], weights: str | None, fingerprint: str
) -> str:
    """The name of an evaluation: readable, and a hash of weights, conditions, images and code."""
    kept = conditions(config)
    content = [weights, kept, fingerprint, _files(kept), source_hashes(config.get("trust") or ())]
    text = json.dumps(content, sort_keys=True, default=str)
    words = f"{choices['evaluation']}-{choices['physics']}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', words).lstrip('.')[:80]}-{digest}"


def hashed_part(config: Mapping[str, Any], weights: Mapping[str, str]) -> dict[str, Any]:
    """The part of a configuration that can change a number.

    Args:
        config: the resolved configuration.
        weights: the SHA-256 of those that it names, by key: each replaces the name, because a
            run has several names, and other weights later.
    """
    items = ((k, v) for k, v in config.items() if k not in LEFT_OUT and (k, v) != (EXTEND, None))
    return {key: _kept(key, value, weights) for key, value in items}


def _kept(path: str, value: Any, weights: Mapping[str, str]) -> Any:
    if path in weights:
        return f"sha256:{weights[path]}"
    if isinstance(value, Mapping):
        items = ((k, v) for k, v in value.items() if f"{path}.{k}" not in LEFT_OUT)
        return {str(k): _kept(f"{path}.{k}", v, weights) for k, v in items}
    if isinstance(value, list | tuple):
        return [_kept(f"{path}[{i}]", item, weights) for i, item in enumerate(value)]
    return value


def _files(value: Any) -> list[str]:
    """The SHA-256 of every file, or run, that a value names: what counts is the content."""
    named = (x for x in flat(value).values() if isinstance(x, str) and len(x) < 1024)
    paths = (expand(x.replace("\0", ""), "path") for x in named if {".", "/"} & set(x))
    candidates = (one for path in paths for one in (path, path / "weights.safetensors"))
    return [sha256(one) for one in candidates if one.is_file()]


def directory_for(config: Mapping[str, Any], choices: Mapping[str, str], fingerprint: str) -> Path:
    """Where the run of a configuration lives."""
    root = expand(config["runs_dir"], "runs_dir").resolve()
    directory = root / slug(choices, config["name"]) / identity(config, fingerprint)
    if root not in directory.resolve().parents:
        raise ConfigError(f"name = {config['name']}: leads out of {root}. Use letters and digits.")
    return directory
