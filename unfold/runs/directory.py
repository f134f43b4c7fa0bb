"""The directory of a run: claimed by one process, finished, resumed or repeated."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unfold.errors import ConfigError, PreemptedError, UnfoldError
from unfold.runs import files, status
from unfold.runs.lock import RANK_VARIABLE, Lock, belongs_to_parent
from unfold.runs.machines import Machines, Meeting
from unfold.runs.provenance import differing
from unfold.runs.verify import Computation, refuse_foreign
from unfold.training.checkpoints.checksum import newest_checkpoint

Plan = Literal["new", "resume", "finished"]


@dataclass(frozen=True)
class Run:
    """A run directory held by this process, or by the one of which it is a rank.

    Args:
        path: the directory.
        plan: what there is to do: start, go on from `checkpoint`, or nothing.
        checkpoint: where to go on from.
        is_rank: whether another process holds the lock and writes the files.
        notes: what the user should know of the files that were found.
    """

    path: Path
    plan: Plan
    checkpoint: Path | None = None
    is_rank: bool = False
    notes: tuple[str, ...] = ()

    def results(self) -> dict[str, Any]:
        """The numbers of a finished run; empty where there are none."""
        path = self.path / "results.json"
        return files.read_json(path) if path.exists() else {}


@dataclass(frozen=True)
class Wish:
    """What is to become of a directory that holds a run already.

    Args:
        rerun: whether what is there moves to `attempts`.
        accept_code: whether an interrupted run goes on though the code has changed.
        asked: the run that the directory should hold; None to take what is there.
    """

    rerun: bool = False
    accept_code: bool = False
    asked: Computation | None = None


AS_IT_IS = Wish()
"""A finished run stays, an interrupted one goes on under the code that it began with."""


def results_of(directory: Path, asked: Computation | None = None) -> dict[str, Any] | None:
    """The numbers of a run that is finished, and was made by this code; None otherwise.

    Raises:
        ConfigError: the directory holds another run than the one that is asked for.
    """
    now = status.read(directory)
    if now is None or now.state != "finished" or _made_by_other_code(directory):
        return None
    if asked is not None:
        refuse_foreign(directory, asked)
    return Run(directory, "finished").results()


@contextmanager
def claim(
    directory: Path, wish: Wish = AS_IT_IS, machines: Machines | None = None
) -> Iterator[Run]:
    """Hold a run directory while the body runs, and record how it ends.

    Args:
        directory: of the run.
        wish: what is to become of a run that is there.
        machines: that share the run: the first one holds the directory, the others follow.

    Raises:
        RunError: another process is writing it, or the machines do not find each other.
        ConfigError: it was made by other code, so that it is neither repeated nor continued, or
            is another run than its name says.
    """
    if belongs_to_parent(directory):
        checkpoint = newest_checkpoint(directory / "checkpoints").path
        yield Run(directory, "resume" if checkpoint else "new", checkpoint, is_rank=True)
        return
    meeting = None if machines is None else Meeting(machines)
    if machines is not None and meeting is not None and machines.index > 0:
        yield from _followed(directory, meeting)
        return
    lock = Lock(directory / ".lock")
    try:
        lock.acquire()
        yield from _held(directory, wish, meeting)
    except UnfoldError as error:
        if meeting is not None:
            meeting.refuse(error)
        raise
    finally:
        lock.release()


def _followed(directory: Path, meeting: Meeting) -> Iterator[Run]:
    """On another machine than the first: what that one does with the directory."""
    said = meeting.hear(directory.name)
    checkpoint = None if said["checkpoint"] is None else directory / said["checkpoint"]
    with _of_this_run(directory):
        yield Run(directory, said["plan"], checkpoint, is_rank=True)


@contextmanager
def _of_this_run(directory: Path) -> Iterator[None]:
    """Let the ranks that this process starts know that they write under its lock."""
    os.environ[RANK_VARIABLE] = str(directory)
    try:
        yield
    finally:
        del os.environ[RANK_VARIABLE]


def _held(directory: Path, wish: Wish, meeting: Meeting | None) -> Iterator[Run]:
    before = status.read(directory)
    if wish.rerun and before is not None:
        move_to_attempts(directory)
        before = None
    if before is None:
        run, now = Run(directory, "new"), status.start()
    else:
        run = _continued(directory, before, wish)
        now = before.now("running", resumed=1)
    if run.plan == "finished":
        _tell(meeting, run)
        yield run
        return
    status.write(directory, now)
    try:
        with _of_this_run(directory):
            _tell(meeting, run)
            yield run
    except PreemptedError as error:
        status.write(directory, now.now("preempted", str(error)))
        raise
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        status.write(directory, now.now("failed", reason))
        raise
    else:
        status.write(directory, now.now("finished"))


def _tell(meeting: Meeting | None, run: Run) -> None:
    """Tell the other machines, where there are any."""
    if meeting is not None:
        state = None if run.checkpoint is None else str(run.checkpoint.relative_to(run.path))
        meeting.tell(run.path.name, {"plan": run.plan, "checkpoint": state})


def _continued(directory: Path, before: status.Status, wish: Wish) -> Run:
    """What to do with a directory that holds something already."""
    if wish.asked is not None:
        refuse_foreign(directory, wish.asked)
    if before.state == "finished":
        _refuse_other_code(directory, "rerun=true to repeat it")
        return Run(directory, "finished")
    _remove_halves(directory)
    checkpoint, notes = _set_damaged_aside(directory / "checkpoints")
    if checkpoint is None:
        return Run(directory, "new", notes=notes)
    if not wish.accept_code:
        _refuse_other_code(
            directory,
            "accept_code=true to continue it under this code, which its history records, or "
            "rerun=true to repeat it from the start",
        )
    return Run(directory, "resume", checkpoint, notes=notes)


def _remove_halves(directory: Path) -> None:
    """Remove the files that a kill left half written; nothing but this process writes here."""
    for folder in (directory, directory / "checkpoints"):
        for path in folder.glob(".*.tmp"):
            path.unlink()


def _set_damaged_aside(folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Rename the states that are damaged: the next one saved must not push out the whole one."""
    found = newest_checkpoint(folder)
    then = f"{found.path.name} is used" if found.path else "the training starts anew"
    notes = []
    for path, reason in found.damaged:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        notes.append(f"{path} is damaged ({reason}); {then}. It was renamed {aside.name}.")
    return found.path, tuple(notes)


def _made_by_other_code(directory: Path) -> list[str]:
    """The files of code that are not as they were when the run was made."""
    path = directory / "provenance.json"
    return differing(files.read_json(path)["sources"]) if path.exists() else []


def _refuse_other_code(directory: Path, remedy: str) -> None:
    changed = _made_by_other_code(directory)
    if changed:
        shown = ", ".join(changed[:8]) + (" …" if len(changed) > 8 else "")
        raise ConfigError(
            f"{directory} was made by other code; these files differ ({len(changed)}): {shown}. "
            f"Add {remedy}; the former content moves to attempts/."
        )


def move_to_attempts(directory: Path) -> Path | None:
    """Move everything in a run directory to `attempts/<n>`; None where there is nothing."""
    content = [path for path in directory.iterdir() if path.name not in (".lock", "attempts")]
    if not content:
        return None
    attempts = directory / "attempts"
    numbers = [int(path.name) for path in attempts.glob("*") if path.name.isdigit()]
    target = attempts / str(max(numbers, default=0) + 1)
    target.mkdir(parents=True)
    # The status goes last: while it is in place, an interrupted move is continued, not overlooked.
    for path in sorted(content, key=lambda path: path.name == "status.json"):
        path.rename(target / path.name)
    return target
