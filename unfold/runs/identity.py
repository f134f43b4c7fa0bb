"""What computes the numbers of a run, and the name that follows from it, on every machine.

The part of its configuration that can change a number, the images, the weights and the other files
that it names, by their content; and the code, of unfold and of packages of the user.
"""

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import unfold
from unfold.arrays import loadable
from unfold.disk import expand
from unfold.errors import ConfigError, RunError, UnfoldError
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

UNSET: Mapping[str, Any] = {
    "evaluation.baselines": None,
    "evaluation.by_physics": True,
    "extend": None,
    "map": None,
    "stages": {"_target_": "unfold.training.stages.Together"},
    "metrics.over_set": [],
    "trainable.condition": {},
    "trainable.noise_relative": [],
    "trainable.widen": {},
}
"""Values with which a key changes nothing: runs from before it was there keep their names."""


def is_chosen(choices: Mapping[str, str], group: str) -> bool:
    """Whether an option of a group that may be left out is chosen; Hydra writes None as a text."""
    return choices.get(group) not in (None, "None")


def slug(choices: Mapping[str, str], name: str | None) -> str:
    """A readable name: algorithm and prior, or the architecture; physics, model, and `name`."""
    named = is_chosen(choices, "architecture")
    groups = ("architecture", "physics") if named else ("algo", "prior", "physics")
    parts = [choices[group] for group in groups if group in choices]
    if choices["model"] != "unfolded":
        parts.append(choices["model"])
    if name:
        parts.append(name)
    return _plain("-".join(parts))[:160]


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")


def identity(config: Mapping[str, Any], fingerprint: str) -> str:
    """A letter and 7 hexadecimal digits, of everything that can change a number.

    The letter keeps a command line from reading the name as a number, as it would 99244e02.
    """
    kept = hashed_part(config, digests(config))
    content = {"config": kept, "data": fingerprint, "files": _files(kept)}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return "ghijklmnopqrstuv"[int(digest[0], 16)] + digest[1:8]


TRAINING = (
    *("extend", "init_from", "map", "loss"),
    *("objective", "optimizer", "scheduler", "stages", "trainer"),
)
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
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{_plain(choices['evaluation'] + '-' + choices['physics'])[:80]}-{digest}"


def hashed_part(config: Mapping[str, Any], weights: Mapping[str, str]) -> dict[str, Any]:
    """The part of a configuration that can change a number.

    The SHA-256 of `weights`, by key, replaces their names: a run has several, and other weights
    later.
    """
    return {k: _kept(k, v, weights) for k, v in config.items() if not _is_out(k, v)}


def _is_out(path: str, value: Any) -> bool:
    return path in LEFT_OUT or (path in UNSET and UNSET[path] == value)


def _kept(path: str, value: Any, weights: Mapping[str, str]) -> Any:
    if path in weights:
        return f"sha256:{weights[path]}"
    if isinstance(value, Mapping):
        items = ((k, v) for k, v in value.items() if not _is_out(f"{path}.{k}", v))
        return {str(k): _kept(f"{path}.{k}", v, weights) for k, v in items}
    if isinstance(value, list | tuple):
        return [_kept(f"{path}[{i}]", item, weights) for i, item in enumerate(value)]
    return value


def _files(value: Any) -> list[str]:
    """The SHA-256 of every file, or run, that a value names: what counts is the content."""
    named = (x for x in flat(value).values() if isinstance(x, str) and len(x) < 1024)
    paths = (expand(x.replace("\0", ""), "path") for x in named if {".", "/"} & set(x))
    candidates = (one for path in paths for one in (path, path / "weights.safetensors"))
    return [_bounded(one) for one in candidates if one.is_file()]


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
    return _bounded(file) if file.is_file() else None


def _bounded(file: Path) -> str:
    """The SHA-256 of a file that is named to be loaded, and so fits in memory."""
    if (size := file.stat().st_size) > (most := loadable()):
        raise RunError(
            f"{file}: it has {size} bytes, of at most {most}, half of the free memory. Name "
            "another file, or free memory."
        )
    return sha256(file)


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
"""The files of a package beside a trusted one that its code is, or reads its options from."""

MOST_FILES, MOST_BYTES = 10_000, 2**30
"""Of a package whose files are compared."""


def source_hashes(trust: Sequence[str] = ()) -> dict[str, str]:
    """The first 16 digits of the SHA-256 of each source file of unfold, by its path.

    Of the packages in `trust`, which are not imported for this, every file counts; so does the code
    that they import and that is not installed.

    Raises:
        ConfigError: a package is too large.
    """
    found, todo, seen = (
        hashes(Path(unfold.__path__[0]), (".py",)),
        list(trust),
        {"unfold", *sys.stdlib_module_names},
    )
    while todo:
        if (name := todo.pop()) in seen:
            continue
        seen.add(name)
        for label, path in _of_package(name, () if name in trust else SOURCES):
            found[label] = sha256(path)[:16]
            todo += _imported(path)
    return found


def _of_package(name: str, kinds: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The files of a package; none of one that is installed, unless all `kinds` are asked for."""
    spec = None
    with suppress(ImportError, ValueError):
        spec = find_spec(name)
    if spec is None:
        return
    places = spec.submodule_search_locations
    home = Path(str(spec.origin)) if places is None else Path(next(iter(places)))
    if kinds and {"site-packages", "dist-packages"} & set(home.parts):
        return
    if places is None and home.is_file():  # a module
        yield home.name, home
    for number, place in enumerate(places or ()):
        root = f"{name}[{number}]" if number else name  # a namespace may have several
        yield from ((f"{root}/{path}", Path(place, path)) for path in _inside(Path(place), kinds))


def _imported(path: Path) -> set[str]:
    """The top-level packages that a file of Python names in its imports."""
    if path.suffix != ".py":
        return set()
    with suppress(SyntaxError, ValueError):
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
        names = [one.name for node in nodes if isinstance(node, ast.Import) for one in node.names]
        names += [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
        return {name.partition(".")[0] for name in names} - {""}
    return set()


def hashes(root: Path, kinds: Sequence[str]) -> dict[str, str]:
    """The first 16 digits of the SHA-256 of the files of some kinds, at any depth of a folder."""
    return {path: sha256(root / path)[:16] for path in _inside(root, kinds)}


def _inside(root: Path, kinds: Sequence[str]) -> list[str]:
    """The files of some kinds, or all, in a folder, links followed, each folder once."""
    found, size, seen = list[str](), 0, {os.path.realpath(root)}
    for folder, folders, names in os.walk(root, followlinks=True):
        inner = {os.path.realpath(Path(folder, name)): name for name in sorted(folders)}
        folders[:] = [
            name
            for real, name in inner.items()
            if real not in seen and name != "__pycache__" and name[0] != "."
        ]
        seen.update(inner)
        for path in (Path(folder, name) for name in names):
            if path.is_file() and (not kinds or path.suffix in kinds):
                found.append(str(path.relative_to(root)))
                size += path.stat().st_size
                if len(found) > MOST_FILES or size > MOST_BYTES:
                    raise ConfigError(
                        f"{root}: its files are compared with those of a run, and are more than "
                        f"{MOST_FILES}, or {MOST_BYTES} bytes. Move data out of it."
                    )
    return sorted(found)


def differing(recorded: Mapping[str, str], trust: Sequence[str] = ()) -> list[str]:
    """The files that changed, came or went since the hashes were recorded."""
    return unequal(recorded, source_hashes(trust))


def unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys, sorted, whose values are not the same, or that one of the two lacks."""
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
