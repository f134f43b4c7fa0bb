"""What a job of a sweep tells the process that started it, through a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from unfold.runs import files
from unfold.runs.ranks import rank

OUTCOME_VARIABLE = "UNFOLD_OUTCOME"
"""Names the file; set by the sweep for each of its jobs."""


class Outcome(NamedTuple):
    """What a job came to.

    directory: of the run.
    scores: its numbers, by name; empty until it is finished.
    repeated: whether it had been finished before, so that nothing was computed.
    """

    directory: Path
    scores: Mapping[str, float]
    repeated: bool


def tell(outcome: Outcome) -> None:
    """Write an outcome where a sweep waits for it."""
    path = os.environ.get(OUTCOME_VARIABLE)
    if path and rank() == 0:
        content = outcome._asdict() | {"directory": str(outcome.directory)}
        files.write_json(Path(path), content)


def told(path: Path) -> Outcome | None:
    """The newest outcome in a file; None before there is any."""
    if not path.exists():
        return None
    content = files.read_json(path)
    return Outcome(Path(content["directory"]), content["scores"], content["repeated"])
