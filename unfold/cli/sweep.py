"""Many jobs in one command: all are checked before the first starts, and none costs the others."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from unfold.cli.console import say, say_error, short, table
from unfold.cli.launch import command_of, run_jobs
from unfold.config.build import build_group
from unfold.config.check import Checked
from unfold.errors import PreemptedError, SweepError, UnfoldError
from unfold.launchers.launcher import Job, Launcher
from unfold.runs.directory import results_of
from unfold.runs.identity import directory_for
from unfold.runs.outcome import Outcome
from unfold.runs.redact import redacted_override
from unfold.runs.verify import Computation


class Entry(NamedTuple):
    """One job of a sweep and what became of it.

    overrides: what tells the job from the others.
    outcome: its result; None where it failed.
    error: why it failed; None where it did not.
    remark: what to say of it in the place of its state.
    """

    overrides: tuple[str, ...]
    outcome: Outcome | None
    error: str | None
    remark: str | None = None


def run_all(
    jobs: Sequence[Checked], run: Callable[[Checked], Outcome], objective: str
) -> list[Entry]:
    """Run the jobs one after another, and show them in a table.

    Args:
        jobs: the checked configurations.
        run: runs one of them.
        objective: the score shown in the table.

    Raises:
        SweepError: some jobs failed; the others are done.
    """
    entries: list[Entry] = []
    for number, checked in enumerate(jobs, 1):
        words = _telling(checked, jobs)
        say(f"[{number}/{len(jobs)}] {' '.join(words)}")
        entries.append(_run_one(checked, words, run))
    return concluded(entries, objective)


def run_apart(
    jobs: Sequence[Checked], prefix: Sequence[str], launcher: Launcher, objective: str
) -> list[Entry]:
    """Run each job in a process of its own, and show them in a table.

    Args:
        jobs: the checked configurations.
        prefix: the words before the overrides that lead to a training.
        launcher: starts them.
        objective: the score shown in the table.

    Raises:
        SweepError: some jobs failed; the others are done.
        PreemptedError: a signal ended the sweep; the same command continues it.
    """
    labels = [_telling(checked, jobs) for checked in jobs]
    entries = dict(finished_before(labels, jobs))
    left = [number for number in range(len(jobs)) if number not in entries]

    def ended(place: int, job: Job) -> None:
        number = left[place]
        entry = entry_of(labels[number], job)
        entries[number] = entry
        state = "failed" if entry.error else "finished"
        say(f"[{len(entries)}/{len(jobs)}] {state}: {' '.join(labels[number])}")
        if entry.error:
            say_error(entry.error)

    commands = [[*prefix, *command_of(jobs[number])] for number in left]
    run_jobs(commands, launcher, ended, jobs[0].settings.runs_dir)
    return concluded([entries[number] for number in range(len(jobs))], objective)


def finished_before(
    labels: Sequence[tuple[str, ...]], jobs: Sequence[Checked]
) -> Iterator[tuple[int, Entry]]:
    """The jobs whose run is there already: they need no place in a queue.

    Where their images cannot be read, or the code is another, the job itself says so.
    """
    prints: dict[str, str] = {}
    for number, checked in enumerate(jobs):
        config = checked.job.config
        data = repr(config["data"])
        if checked.settings.rerun:
            continue
        try:
            if data not in prints:
                prints[data] = build_group(checked, "data").fingerprint()
            run = directory_for(config, checked.job.choices, prints[data])
            scores = results_of(run, Computation(checked.job.stored, prints[data]))
        except UnfoldError:
            continue
        if scores is not None:
            yield number, Entry(labels[number], Outcome(run, scores, repeated=True), None)


def entry_of(label: tuple[str, ...], job: Job) -> Entry:
    """What became of a process that ended."""
    if job.code == 0 and job.outcome is not None:
        return Entry(label, job.outcome, None)
    return Entry(label, None, job.error)


def concluded(entries: list[Entry], objective: str) -> list[Entry]:
    """Show what became of all jobs.

    Raises:
        SweepError: some failed.
    """
    _show(entries, objective)
    failed = sum(entry.error is not None for entry in entries)
    if failed:
        raise SweepError(f"{failed} of {len(entries)} jobs failed; the table says why.")
    return entries


def _run_one(checked: Checked, words: tuple[str, ...], run: Callable[[Checked], Outcome]) -> Entry:
    try:
        return Entry(words, run(checked), None)
    except PreemptedError:
        raise  # the sweep itself is asked to end
    except UnfoldError as error:
        text = str(error)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    say_error(text)
    return Entry(words, None, text)


def _telling(checked: Checked, jobs: Sequence[Checked]) -> tuple[str, ...]:
    """The overrides that are not the same in all jobs."""
    shared = set.intersection(*(set(job.job.overrides) for job in jobs))
    return tuple(redacted_override(word) for word in checked.job.overrides if word not in shared)


def _show(entries: Sequence[Entry], objective: str) -> None:
    rows = []
    for entry in entries:
        name = " ".join(entry.overrides) or "(as it stands)"
        if entry.outcome is None:
            rows.append((name, "failed", "", (entry.error or "").splitlines()[0]))
        else:
            score = entry.outcome.scores.get(f"best {objective}")
            state = entry.remark or ("finished before" if entry.outcome.repeated else "finished")
            value = "" if score is None else f"{score:.4g}"
            rows.append((name, state, value, short(entry.outcome.directory)))
    table("sweep", ("job", "state", objective, "run or reason"), rows)
