"""Many jobs in one command: all are checked before the first starts, and none costs the others."""

import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from unfold.cli.job import Outcome
from unfold.cli.report import say, say_error, short, table
from unfold.config.check import Checked
from unfold.errors import SweepError, UnfoldError


class Entry(NamedTuple):
    """One job of a sweep and what became of it.

    overrides: what tells the job from the others.
    outcome: its result; None where it failed.
    error: why it failed; None where it did not.
    """

    overrides: tuple[str, ...]
    outcome: Outcome | None
    error: str | None


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
    _show(entries, objective)
    failed = sum(entry.error is not None for entry in entries)
    if failed:
        raise SweepError(f"{failed} of {len(jobs)} jobs failed; the table says why.")
    return entries


def _run_one(checked: Checked, words: tuple[str, ...], run: Callable[[Checked], Outcome]) -> Entry:
    try:
        return Entry(words, run(checked), None)
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
    return tuple(word for word in checked.job.overrides if word not in shared)


def _show(entries: Sequence[Entry], objective: str) -> None:
    rows = []
    for entry in entries:
        name = " ".join(entry.overrides) or "(as it stands)"
        if entry.outcome is None:
            rows.append((name, "failed", "", (entry.error or "").splitlines()[0]))
        else:
            score = entry.outcome.scores.get(f"best {objective}")
            state = "finished before" if entry.outcome.repeated else "finished"
            value = "" if score is None else f"{score:.4g}"
            rows.append((name, state, value, short(entry.outcome.directory)))
    table("sweep", ("job", "state", objective, "run or reason"), rows)
