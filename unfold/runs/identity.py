"""What computes the numbers of a run, and the name that follows from it, on every machine.

The part of its configuration that can change a number, the images, the weights and the other files
that it names, by their content; and the code, of unfold and of packages of the user.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import unfold
from unfold.disk import expand
from unfold.errors import ConfigError, UnfoldError
from unfold.runs.catalogue import flat, read_reference
from unfold.runs.files import sha256

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


EMBEDDED = "embedded"
"""The weights that come with unfold: blind denoisers, plain and firmly nonexpansive."""


def find_weights(text: str, runs_dir: str | Path) -> Path:
    """The file, or the directory of the run, that a text names."""
    path = expand(text, "weights")
    return path if path.is_file() else read_reference(text, runs_dir).path


EXTEND = "extend"
"""The key of a run whose state is continued, rather than its best weights."""


def digest_of(text: str, runs_dir: str | Path, key: str = "") -> str | None:
    """The SHA-256 of the weights, or the state, that a text names; None where there are none."""
    try:
        path = find_weights(text, runs_dir)
    except (UnfoldError, ValueError):  # a path cannot hold a zero byte
        return None
    inside = "checkpoints/last.ckpt" if key == EXTEND else "weights.safetensors"
    file = path / inside if path.is_dir() else path
    return sha256(file) if file.is_file() else None


def names_weights(key: str, value: Any) -> bool:
    """Whether a key names weights, and its value names some."""
    is_key = key in ("init_from", EXTEND) or key.endswith(".weights")
    return is_key and isinstance(value, str) and value != EMBEDDED


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of all weights that a configuration names, by the full key."""
    named = [(key, text) for key, text in flat(config).items() if names_weights(key, text)]
    found = ((key, digest_of(text, config["runs_dir"], key)) for key, text in named)
    return {key: digest for key, digest in found if digest is not None}


SOURCES = (".json", ".py", ".pyd", ".so", ".toml", ".yaml", ".yml")
"""The files of a user's package that its code is, or reads its options from."""


def source_hashes(trust: Sequence[str] = ()) -> dict[str, str]:
    """The first 16 digits of the SHA-256 of each source file, by its path.

    Those of unfold have the path inside the package; those of the packages in `trust`, which are
    not imported for this, have one that begins with the name of the package.
    """
    return {**_packaged(), **dict(pair for name in trust for pair in _of_package(name))}


@cache
def _packaged() -> Mapping[str, str]:
    return hashes(Path(unfold.__path__[0]), (".py",))


def _of_package(name: str) -> Iterator[tuple[str, str]]:
    spec = find_spec(name)
    if spec is None:
        return
    if spec.submodule_search_locations is None:  # a module
        yield Path(str(spec.origin)).name, _digest(Path(str(spec.origin)))
    for number, place in enumerate(spec.submodule_search_locations or ()):
        root = f"{name}[{number}]" if number else name  # a namespace may have several
        yield from ((f"{root}/{path}", one) for path, one in hashes(Path(place), SOURCES).items())


def hashes(root: Path, kinds: Sequence[str]) -> dict[str, str]:
    """The first 16 digits of the SHA-256 of the files of some kinds, at any depth of a folder."""
    found = (path for path in sorted(root.rglob("*")) if path.suffix in kinds and path.is_file())
    return {str(path.relative_to(root)): _digest(path) for path in found}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def differing(recorded: Mapping[str, str], trust: Sequence[str] = ()) -> list[str]:
    """The files that changed, came or went since the hashes were recorded."""
    return unequal(recorded, source_hashes(trust))


def unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys, sorted, whose values are not the same, or that one of the two lacks."""
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
