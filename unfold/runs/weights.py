"""The trained weights that a configuration names: a file, or a run by any of its names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unfold.disk import expand
from unfold.errors import UnfoldError
from unfold.runs.catalogue import flat, read_reference
from unfold.runs.files import sha256

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
