"""The state of a run, in `status.json`."""

import os
import socket
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from unfold.errors import RunError
from unfold.runs.files import read_json, write_json
from unfold.runs.ranks import launch

State = Literal["running", "finished", "failed", "preempted"]


@dataclass(frozen=True)
class Status:
    """What is known of a run.

    Args:
        state: running, finished, failed or, where a signal ended it, preempted; a running one
            without a process was killed.
        reason: why it failed, or what ended it.
        pid: of the process that wrote it last.
        host: where that process ran.
        started: when the first attempt began, in UTC.
        updated: when this was written, in UTC.
        resumed: how many times it was resumed.
        launch: identifies the launch that wrote it among several.
    """

    state: State
    reason: str | None
    pid: int
    host: str
    started: str
    updated: str
    resumed: int = 0
    launch: str = ""

    def now(self, state: State, reason: str | None = None, *, resumed: int = 0) -> "Status":
        """The same run in another state, written by this process."""
        return replace(
            start(),
            state=state,
            reason=reason,
            started=self.started,
            resumed=self.resumed + resumed,
        )


def start() -> Status:
    """The status of a run that begins now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Status("running", None, os.getpid(), socket.gethostname(), now, now, launch=launch())


def read(directory: Path) -> Status | None:
    """The status of a run directory; None where it has none.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / "status.json"
    if not path.exists():
        return None
    content = read_json(path)
    try:
        return Status(**{name: content[name] for name in Status.__dataclass_fields__})
    except KeyError as error:
        raise RunError(f"{path} lacks {error}. Repeat the run with rerun=true.") from error


def write(directory: Path, status: Status) -> None:
    """Write the status of a run directory."""
    content: dict[str, Any] = asdict(status)
    write_json(directory / "status.json", content)
