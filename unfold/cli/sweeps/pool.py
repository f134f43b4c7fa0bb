"""Jobs of a sweep, some at a time, on the places of a launcher."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from unfold.disk import expand
from unfold.errors import PreemptedError, RunError
from unfold.launchers.launcher import Job, Launcher

State = Literal["running", "ended", "restart"]

Next = tuple[int, Sequence[str]]
"""The job to start next: its number and the arguments of its command."""


def run_pool(
    following: Callable[[], Next | None],
    watch: Callable[[int, Job], State],
    launcher: Launcher,
    runs_dir: str | Path,
    poll: float = 0.0,
) -> None:
    """Run jobs until there is no next one and none runs; `watch` is asked every `poll` seconds."""
    free = list(range(launcher.jobs))
    running: dict[int, tuple[Next, Job]] = {}  # by slot
    with _job_folder(launcher, Path(runs_dir)) as folder, _ended_on_error(running):

        def start(new: Next, slot: int) -> None:
            own = Path(tempfile.mkdtemp(dir=folder))
            running[slot] = new, launcher.start(new[1], own, slot)

        while True:
            while free and (new := following()) is not None:
                start(new, free.pop())
            if not running:
                return
            for slot, (new, job) in list(running.items()):
                state = watch(new[0], job)
                if state == "restart":
                    start(new, slot)
                elif state == "ended":
                    del running[slot]
                    free.append(slot)
            time.sleep(max(poll, launcher.poll))


def run_jobs(
    commands: Sequence[Sequence[str]],
    launcher: Launcher,
    ended: Callable[[int, Job], None],
    runs_dir: str | Path = "runs",
) -> None:
    """Run a list of commands; `ended` is called with the number of each job and the job."""
    waiting = enumerate(commands)

    def watch(number: int, job: Job) -> State:
        if job.code is None:
            return "running"
        ended(number, job)
        return "ended"

    run_pool(lambda: next(waiting, None), watch, launcher, runs_dir)


@contextmanager
def _job_folder(launcher: Launcher, runs_dir: Path) -> Iterator[Path]:
    """A folder for the files of the jobs, removed at the end."""
    root = None
    if launcher.shared:
        root = expand(runs_dir, "runs_dir").resolve() / ".jobs"
        if root.is_symlink():
            raise RunError(f"{root} is a link, and files of jobs are not written through one.")
        root.mkdir(parents=True, exist_ok=True)
    # A job that has just ended may still write its last lines.
    with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _ended_on_error(running: Mapping[int, tuple[Next, Job]]) -> Iterator[None]:
    """End the running jobs where the sweep itself is ended."""
    from unfold.training.checkpoints.signals import raising_signals

    with raising_signals():
        try:
            yield
        except BaseException as error:
            for _, job in running.values():
                job.end()
            if isinstance(error, PreemptedError):
                raise type(error)(f"{len(running)} jobs saved and ended. {error}") from error
            raise
