"""Whether a run directory holds the run that its name stands for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.compare import Difference, differences
from unfold.runs.identity import hashed_part
from unfold.runs.redact import redacted
from unfold.runs.version import stored_config
from unfold.runs.weights import digests


class Computation(NamedTuple):
    """What a run directory should hold.

    config: the configuration as a run stores it.
    fingerprint: of the images.
    """

    config: Mapping[str, Any]
    fingerprint: str


def refuse_foreign(directory: Path, asked: Computation) -> None:
    """Refuse a directory whose files are of another run: edited by hand, or copied there.

    Raises:
        ConfigError: names each key with both values.
        RunError: a file of the directory is damaged.
    """
    found = _differences(directory, asked)
    if found:
        shown = "; ".join(f"{key} = {there} there, {here} asked for" for key, there, here in found)
        raise ConfigError(
            f"{directory} holds another run than its name says; its files were edited or copied: "
            f"{shown}. Move it away, or add rerun=true: what is there moves to attempts/."
        )


def _differences(directory: Path, asked: Computation) -> list[Difference]:
    path, origin_path = directory / "config.yaml", directory / "provenance.json"
    if not (path.exists() and origin_path.exists()):
        return []  # it ended before it wrote the last of them
    stored = stored_config(directory)
    origin = files.read_json(origin_path)
    # Where its weights are gone since, what it wrote down of them counts.
    weights = {**origin.get("weights", {}), **digests({"runs_dir": "runs", **stored})}
    there = hashed_part(stored, weights) | {"images": origin.get("data")}
    here = hashed_part(redacted(asked.config), digests(asked.config)) | {
        "images": asked.fingerprint
    }
    return differences(there, here)
