"""The history of a run, in its provenance: every start, and how each ended."""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unfold.errors import PreemptedError, RunError
from unfold.runs import files
from unfold.runs.directory import Run
from unfold.runs.files import sha256
from unfold.runs.provenance import flags
from unfold.runs.redact import redacted_overrides

SAVED = ("weights.safetensors", "checkpoints/*.ckpt")
"""The files of weights and states whose hashes are kept."""


LATEST = ("config", "overrides", "given_by", "folders", "sources")
"""Entries that always describe the last start."""


def begin(run: Run, origin: Mapping[str, Any]) -> None:
    """Write what a run is made from, or add a start to it.

    The entries of the first start stay, except those in `LATEST`. Every start keeps its overrides,
    and one whose sources differ keeps their former hashes.
    """
    path = run.path / "provenance.json"
    first = files.optional(path)
    starts = first.get("attempts", [])
    before = [start | {"outcome": start["outcome"] or "killed"} for start in starts]
    attempt = _started(run, origin, first.get("sources", origin["sources"]))
    base = dict(first) if run.plan == "resume" and first else dict(origin)
    latest = {key: origin[key] for key in LATEST}
    files.write_json(path, base | latest | {"attempts": [*before, attempt]})


def _started(run: Run, origin: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    machine, git = origin["machine"], origin["git"] or {}
    now = origin["sources"]
    changed = sorted(name for name in {*sources, *now} if sources.get(name) != now.get(name))
    return {
        "command": redacted_overrides(sys.argv),
        "overrides": origin["overrides"],
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "machine": machine,
        "threads": machine["threads"],
        "commit": git.get("commit"),
        "packages_sha256": origin["freeze"]["sha256"],
        "continues": run.checkpoint.name if run.checkpoint else None,
        "changed_sources": {name: sources.get(name) for name in changed},
        "started": _now(),
        "ended": None,
        "outcome": None,
    }


@contextmanager
def recorded(run: Run) -> Iterator[dict[str, float]]:
    """Write how the body ended, and the scores it filled in.

    Yields:
        The scores, to be filled in.
    """
    scores: dict[str, float] = {}
    try:
        yield scores
    except BaseException as error:
        state = "preempted" if isinstance(error, PreemptedError) else "failed"
        with suppress(RunError):  # the disk may be what failed
            _end(run.path, f"{state}: {' '.join(str(error).split()) or type(error).__name__}")
        raise
    _end(run.path, "finished", {"results": scores})


def _end(directory: Path, outcome: str, more: Mapping[str, Any] | None = None) -> None:
    path = directory / "provenance.json"
    origin = files.read_json(path)
    *before, last = origin["attempts"]
    ended = last | {"ended": _now(), "outcome": outcome}
    saved = sorted(file for pattern in SAVED for file in directory.glob(pattern))
    content = {
        "attempts": [*before, ended],
        "deterministic": flags(),
        "checkpoints": {str(file.relative_to(directory)): sha256(file) for file in saved},
    }
    files.write_json(path, origin | content | dict(more or {}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
