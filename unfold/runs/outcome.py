"""The outcome of a job of a sweep, which its process writes and the sweep reads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from unfold.runs import files
from unfold.runs.ranks import rank

OUTCOME_VARIABLE = "UNFOLD_OUTCOME"
"""Names the file; set by the sweep for each of its jobs."""


class Outcome(NamedTuple):
    """The result of a job.

    directory: of the run.
    scores: its numbers, by name; empty until it is finished.
    repeated: whether it had been finished before, so that nothing was computed.
    """

    directory: Path
    scores: Mapping[str, float]
    repeated: bool


def write_outcome(outcome: Outcome) -> None:
    """Write an outcome to the file that the sweep reads; nothing outside a sweep."""
    path = os.environ.get(OUTCOME_VARIABLE)
    if path and rank() == 0:
        content = outcome._asdict() | {"directory": str(outcome.directory)}
        files.write_json(Path(path), content)


def read_outcome(path: Path) -> Outcome | None:
    """The newest outcome in a file; None before there is any."""
    if not path.exists():
        return None
    content = files.read_json(path)
    return Outcome(Path(content["directory"]), content["scores"], content["repeated"])
