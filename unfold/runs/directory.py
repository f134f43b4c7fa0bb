"""The directory of a run: claimed by rank zero, then finished, resumed or repeated."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unfold.errors import ConfigError, PreemptedError, RunError
from unfold.runs import files, status
from unfold.runs.compare import Computation, refuse_foreign
from unfold.runs.files import ORIGIN, stored_config
from unfold.runs.identity import differing
from unfold.runs.processes import Lock, is_held, launch, launched
from unfold.runs.provenance import versions
from unfold.runs.seal import complaint, finish, verify
from unfold.training.checkpoints.checksum import newest_checkpoint

Plan = Literal["new", "resume", "finished"]

PATIENCE = 300.0
"""Seconds that ranks wait for rank zero, which reads the images first as they do."""


@dataclass(frozen=True)
class Run:
    """A run directory held by this process, or by rank zero.

    Args:
        plan: what there is to do: start, resume from `checkpoint`, or nothing.
        is_rank: whether rank zero holds the lock and writes the files.
        notes: what the user should know of the files that were found.
    """

    path: Path
    plan: Plan
    checkpoint: Path | None = None
    is_rank: bool = False
    notes: tuple[str, ...] = ()

    def results(self) -> dict[str, Any]:
        """The scores of a finished run; empty where there are none."""
        return files.optional(self.path / "results.json")


@dataclass(frozen=True)
class Request:
    """What a job wants of its run directory; any run is accepted where none is `expected`.

    Rank zero claims the directory, the others follow. An existing run moves to `attempts` with
    `rerun`; an interrupted one resumes though the code has changed with `accept_code`.
    """

    expected: Computation | None = None
    rerun: bool = False
    accept_code: bool = False
    rank: int = 0


def results_of(directory: Path, expected: Computation | None = None) -> dict[str, Any] | None:
    """The scores of a finished run made by this code; None otherwise.

    Raises:
        ConfigError: the directory holds another run than the expected one.
        RunError: a file is not as it was when the run finished.
    """
    now = status.read(directory)
    if now is None or now.state != "finished" or changed(directory, expected):
        return None
    if expected is not None:
        refuse_foreign(directory, expected)
    verify(directory)
    return Run(directory, "finished").results()


@contextmanager
def claim(directory: Path, request: Request = Request()) -> Iterator[Run]:
    """Hold a run directory while the body runs, and record how it terminates.

    Raises:
        RunError: another process is writing it, rank zero does not claim it, or a file of a
            finished run is not as it was.
        ConfigError: it was made by other code, so that it is neither repeated nor continued, is of
            another schema version, or is another run than its name says.
    """
    with suppress(RunError) if request.rerun else nullcontext():
        stored_config(directory)  # refuses other schema versions before anything is touched
    if request.rank > 0:
        yield _followed(directory, request)
        return
    with Lock(directory / ".lock"), launched():
        yield from _held(directory, request)


def _followed(directory: Path, request: Request) -> Run:
    """The run that rank zero of the same launch has claimed."""
    before = status.read(directory)
    if before is not None and before.state == "finished" and not request.rerun:
        return replace(_continued(directory, before, request), is_rank=True)
    until = time.monotonic() + PATIENCE
    while not _claimed(directory):
        if time.monotonic() > until:
            raise RunError(
                f"rank {request.rank}: rank zero has not claimed {directory} in {PATIENCE:.0f} s. "
                "Start the same command, with the same images, on every machine."
            )
        time.sleep(0.2)
    checkpoint = newest_checkpoint(directory / "checkpoints").path
    return Run(directory, "resume" if checkpoint else "new", checkpoint, is_rank=True)


def _claimed(directory: Path) -> bool:
    now = status.read(directory)
    running = now is not None and now.state == "running" and now.launch == launch()
    return running and is_held(directory / ".lock")


def _held(directory: Path, request: Request) -> Iterator[Run]:
    if request.rerun:
        move_to_attempts(directory)
    before = status.read(directory)
    if before is None:
        verify(directory)  # a finished run whose status is gone
        run, now = Run(directory, "new"), status.start()
    else:
        run = _continued(directory, before, request)
        now = before.now("running", resumed=1)
    if run.plan == "finished":
        yield run
        return
    status.write(directory, now)
    try:
        yield run
    except PreemptedError as error:
        status.write(directory, now.now("preempted", str(error)))
        raise
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        status.write(directory, now.now("failed", reason))
        raise
    else:
        finish(directory, now.now("finished"))


def _continued(directory: Path, before: status.Status, request: Request) -> Run:
    """What to do with a directory that holds a run already."""
    found = complaint(directory)
    try:
        if request.expected is not None:
            refuse_foreign(directory, request.expected)
        if before.state == "finished":
            remedy = "rerun=true to repeat it; the former content moves to attempts/"
            _refuse_changed(directory, request.expected, remedy)
    except ConfigError as error:
        raise ConfigError(f"{error} {found}".strip()) from error
    if found:
        raise RunError(found)
    others = _other_versions(directory)
    if before.state == "finished":
        return Run(directory, "finished", notes=others)
    _remove_incomplete(directory)
    checkpoint, notes = _set_damaged_aside(directory / "checkpoints")
    if checkpoint is None:
        return Run(directory, "new", notes=notes)
    if not request.accept_code:
        _refuse_changed(
            directory,
            request.expected,
            "accept_code=true to continue it under this code, which its history records, or "
            "rerun=true to repeat it from the start; the former content moves to attempts/",
        )
    return Run(directory, "resume", checkpoint, notes=(*others, *notes))


def _remove_incomplete(directory: Path) -> None:
    """Remove the files that a kill left incomplete; only this process writes here."""
    for folder in (directory, directory / "checkpoints"):
        for path in folder.glob(".*.tmp"):
            path.unlink()


def _set_damaged_aside(folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Rename damaged states, so that the next one saved does not replace the sound one."""
    found = newest_checkpoint(folder)
    then = f"{found.path.name} is used" if found.path else "the training starts anew"
    notes = []
    for path, reason in found.damaged:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        notes.append(f"{path} is damaged ({reason}); {then}. It was renamed {aside.name}.")
    return found.path, tuple(notes)


def changed(directory: Path, expected: Computation | None) -> list[str]:
    """What decides the outcome, outside of the name, and is not as it was: code, and `strict`."""
    if not (origin := files.origin_of(directory)):
        now = status.read(directory)  # the seal of a finished run names what is missing
        return [] if now and now.state == "finished" else [f"{ORIGIN} (missing)"]
    asked = expected.config if expected else {}
    other = differing(origin["sources"], asked.get("trust") or ())
    # A run that is refused nothing stays what it is where nothing is refused.
    stricter = asked.get("strict") and not stored_config(directory).get("strict")
    return ["strict (false there, true asked for)", *other] if stricter else other


def _refuse_changed(directory: Path, expected: Computation | None, remedy: str) -> None:
    if found := changed(directory, expected):
        shown = ", ".join(found[:8]) + (" …" if len(found) > 8 else "")
        raise ConfigError(
            f"{directory} was made by other code; these files differ ({len(found)}): {shown}. "
            f"Add {remedy}."
        )


def _other_versions(directory: Path) -> tuple[str, ...]:
    """A note where another Python or another package computed the run, or its last start."""
    origin = files.origin_of(directory)
    before = (origin.get("attempts") or [origin])[-1].get("packages", {})
    now = versions()
    found = [f"{k} {v} then, {now.get(k)} now" for k, v in before.items() if now.get(k) != v]
    return (f"made under other versions: {', '.join(found)}. Digits may differ.",) if found else ()


def move_to_attempts(directory: Path) -> Path | None:
    """Move everything in a run directory to `attempts/<n>`; None where there is nothing."""
    content = [path for path in directory.iterdir() if path.name not in (".lock", "attempts")]
    if not content:
        return None
    attempts = directory / "attempts"
    if attempts.is_symlink():
        raise RunError(f"{attempts} is a link, and nothing is moved through one. Remove it.")
    numbers = [int(path.name) for path in attempts.glob("*") if path.name.isdigit()]
    target = attempts / str(max(numbers, default=0) + 1)
    target.mkdir(parents=True)
    # The status goes last: while it is in place, an interrupted move is continued, not overlooked.
    for path in sorted(content, key=lambda path: path.name == "status.json"):
        path.rename(target / path.name)
    return target
