"""Jobs of a sweep as processes of their own: what ends one of them leaves the others alone."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from unfold.cli.outcome import OUTCOME_VARIABLE, Outcome, told
from unfold.config.overrides import key_of
from unfold.errors import ConfigError, PreemptedError, listing, nearest

LAUNCHERS = ("basic", "parallel")
"""basic: all jobs in this process. parallel: each in its own, as many at a time as asked for."""

GROUP, JOBS = "hydra/launcher", "hydra.launcher.jobs"

CPUS_VARIABLE = "UNFOLD_CPUS"
"""The CPUs of a job, separated by commas: jobs that run side by side share no CPU."""

POLL = 0.1
"""Seconds between two looks at the running jobs."""


class Launcher(NamedTuple):
    """How the jobs of a sweep are started.

    name: one of `LAUNCHERS`.
    jobs: how many run at a time.
    """

    name: str
    jobs: int


def take_launcher(words: Sequence[str]) -> tuple[Launcher, list[str]]:
    """The launcher that the words choose, and the other words.

    Raises:
        ConfigError: a launcher that does not exist, or a number of jobs below 1.
    """
    own = {
        key: value for key, _, value in (w.partition("=") for w in words) if key in (GROUP, JOBS)
    }
    rest = [word for word in words if word.partition("=")[0] not in (GROUP, JOBS)]
    name = own.get(GROUP, "parallel")
    if name not in LAUNCHERS:
        near = nearest(name, LAUNCHERS)
        raise ConfigError(f"{GROUP} = {name}: unknown{near} Allowed: {listing(LAUNCHERS)}.")
    # Without a word about it, jobs follow one another, each with all CPUs.
    default = str(available_cpus()) if GROUP in own and name == "parallel" else "1"
    jobs = own.get(JOBS, default)
    if not jobs.isdigit() or int(jobs) < 1 or (name == "basic" and int(jobs) > 1):
        raise ConfigError(
            f"{JOBS} = {jobs}: must be 1 or above, and 1 where hydra/launcher=basic runs all jobs "
            "in one process."
        )
    return Launcher(name, int(jobs)), rest


def available_cpus() -> int:
    """The CPUs that this process may use."""
    from unfold.cli.threads import available_cpus as available

    return available()


def keep_to_cpus() -> None:
    """Keep this process to the CPUs that the sweep gave it."""
    given = os.environ.get(CPUS_VARIABLE)
    if given and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in given.split(",")})


class Job:
    """One process that runs one configuration.

    Args:
        words: of its command line, after the program.
        folder: for what it says.
        cpus: the CPUs it keeps to; none for all.
    """

    def __init__(self, words: Sequence[str], folder: Path, cpus: Sequence[int] = ()) -> None:
        self._outcome, self._log = folder / "outcome.json", folder / "log"
        quiet = [] if "trainer.progress" in map(key_of, words) else ["trainer.progress=false"]
        environment = os.environ | {OUTCOME_VARIABLE: str(self._outcome)}
        if cpus:
            environment[CPUS_VARIABLE] = ",".join(map(str, cpus))
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, sys.argv[0], *words, *quiet],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def outcome(self) -> Outcome | None:
        """What it told so far."""
        return told(self._outcome)

    def end(self) -> None:
        """Ask it to save and end, and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    @property
    def error(self) -> str:
        """Why it failed: its own words, or the signal that killed it."""
        code = self._process.returncode
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        said = text.rpartition("error: ")[2] if "error: " in text else text
        return said or f"exit code {code}"


def run_processes(
    commands: Sequence[Sequence[str]], jobs: int, ended: Callable[[int, Job], None]
) -> None:
    """Run command lines as processes, some at a time.

    Args:
        commands: the words of each.
        jobs: how many run at a time.
        ended: told the number of each job that ended, and the job.

    Raises:
        PreemptedError: a signal asked to end; the jobs that ran have saved their state.
    """
    slots = _slots(jobs)
    free, running = list(range(jobs)), dict[int, tuple[int, Job]]()
    waiting = iter(enumerate(commands))
    with tempfile.TemporaryDirectory() as folder, _all_ended(running):
        while True:
            while free and (following := next(waiting, None)) is not None:
                number, words = following
                own = Path(folder) / str(number)
                own.mkdir()
                slot = free.pop()
                running[number] = (slot, Job(words, own, slots[slot]))
            if not running:
                return
            for number, (slot, job) in list(running.items()):
                if job.code is not None:
                    ended(number, job)
                    del running[number]
                    free.append(slot)
            time.sleep(POLL)


@contextmanager
def _all_ended(running: dict[int, tuple[int, Job]]) -> Iterator[None]:
    """End the jobs that still run, where the sweep itself is ended."""
    from unfold.training.stopping import raising_signals

    with raising_signals():
        try:
            yield
        except BaseException as error:
            for _, job in running.values():
                job.end()
            if isinstance(error, PreemptedError):
                raise type(error)(f"{len(running)} jobs saved and ended. {error}") from error
            raise


def _slots(jobs: int) -> list[list[int]]:
    """The CPUs of each job: all where they run one at a time, an equal share otherwise."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(jobs)]
    cpus = sorted(os.sched_getaffinity(0))
    share = max(1, len(cpus) // jobs)
    return [[cpus[(i * share + k) % len(cpus)] for k in range(share)] for i in range(jobs)]
