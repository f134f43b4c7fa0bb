"""The state of a run, in `status.json`, and the outcome of a job, which a sweep reads."""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from unfold.errors import RunError
from unfold.runs import files
from unfold.runs.processes import launch, rank

State = Literal["running", "finished", "failed", "preempted"]


@dataclass(frozen=True)
class Status:
    """What is known of a run.

    Args:
        state: running, finished, failed or, where a signal ended it, preempted; a running one
            without a process was killed.
        reason: why it failed, or what ended it.
        pid, host: of the process that wrote it last.
        started: when the first attempt began, in UTC.
        updated: when this was written, in UTC.
        resumed: how many times it was resumed.
        launch: identifies the launch that wrote it among several.
        seal: of a finished run, `seal.py`.
    """

    state: State
    reason: str | None
    pid: int
    host: str
    started: str
    updated: str
    resumed: int = 0
    launch: str = ""
    seal: str = ""

    def now(self, state: State, reason: str | None = None, *, resumed: int = 0) -> "Status":
        """The same run in another state, written by this process."""
        count = self.resumed + resumed
        return replace(start(), state=state, reason=reason, started=self.started, resumed=count)


def start() -> Status:
    """The status of a run that begins now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Status("running", None, os.getpid(), socket.gethostname(), now, now, launch=launch())


def read(directory: Path) -> Status | None:
    """The status of a run directory; None where it has none.

    Whatever reads or writes a directory reads its status first; links in it are refused here.
    """
    files.expect_plain(directory)
    path = directory / "status.json"
    if not (content := files.optional(path)):
        return None
    content = {"seal": ""} | content  # runs were not always sealed
    try:
        now = Status(**{name: content[name] for name in Status.__dataclass_fields__})
    except KeyError as error:
        raise RunError(f"{path} lacks {error}. Repeat the run with rerun=true.") from error
    texts = (now.started, now.updated, now.launch, now.seal, now.reason or "")
    sound = all(isinstance(text, str) for text in texts) and isinstance(now.resumed, int)
    if now.state not in get_args(State) or not sound:
        raise files.damaged(path, "does not hold the status of a run")
    return now


def write(directory: Path, status: Status) -> None:
    """Write the status of a run directory."""
    files.write_json(directory / "status.json", asdict(status))


OUTCOME_VARIABLE = "UNFOLD_OUTCOME"
"""Names the file; set by the sweep for each of its jobs."""


class Outcome(NamedTuple):
    """The result of a job; `repeated` where it had been finished before."""

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
    content = files.optional(path)
    return Outcome(**content | {"directory": Path(content["directory"])}) if content else None
