"""The trials of a search as jobs: started, watched, pruned, reported to the study."""

import csv
from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, say_error
from unfold.cli.pool import Next, State, run_pool
from unfold.cli.study import Study, Trial
from unfold.cli.sweep import Entry, entry_of
from unfold.config.search import Space
from unfold.errors import RunError
from unfold.launchers.launcher import Job, Launcher
from unfold.runs.lock import busy_directory, is_held
from unfold.runs.outcome import Outcome

POLL = 0.3
"""Seconds between two reads of the curves of the trials."""


class Trials:
    """The trials that this process runs, as many at a time as its launcher has places.

    Args:
        study: which it asks for them.
        space: what is searched.
        prefix: the arguments before those of every trial.
        launcher: starts them.
        total: how many trials the study makes, in all its processes.
    """

    def __init__(
        self, study: Study, space: Space, prefix: Sequence[str], launcher: Launcher, total: int
    ) -> None:
        self.study, self.space, self.prefix = study, space, prefix
        self.launcher, self.total = launcher, total
        self._trials: dict[int, Trial] = {}
        self._reported: dict[int, int] = {}
        self._busy: dict[int, Path] = {}
        self._entries: list[Entry] = []

    def run(self, runs_dir: str) -> list[Entry]:
        """Run until the study asks for no more, and the trials of this process have ended.

        Args:
            runs_dir: the folder of all runs.

        Raises:
            PreemptedError: a signal asked to terminate; the trials have saved their state.
        """
        try:
            run_pool(self._next, self._watch, self.launcher, runs_dir, POLL)
        finally:
            for trial in self._trials.values():  # of an interrupted search: others may take over
                trial.lock.release()
        return self._entries

    def _next(self) -> Next | None:
        trial = self.study.ask()
        if trial is None:
            return None
        self._trials[trial.number] = trial
        return Next(trial.number, [*self.prefix, *self.space.overrides(trial.values)])

    def _watch(self, number: int, job: Job) -> State:
        trial = self._trials[number]
        pruned = self._prune(trial, job)
        if job.code is None:
            return "running"
        if (run := self._busy_run(trial, job)) is not None:
            if is_held(run / ".lock"):
                return "running"
            del self._busy[number]
            return "restart"
        self._conclude(trial, job, pruned=pruned)
        del self._trials[number]
        return "ended"

    def _busy_run(self, trial: Trial, job: Job) -> Path | None:
        """The run directory of a trial that another process is writing."""
        if trial.number not in self._busy and job.code == RunError.exit_code:
            run = busy_directory(job.error)
            if run is not None:
                self._busy[trial.number] = run
                say(f"{' '.join(trial.label)}: waits for the process that runs the same.")
        return self._busy.get(trial.number)

    def _prune(self, trial: Trial, job: Job) -> bool:
        """End a trial that is worse than others; whether it was ended."""
        if job.code is not None or job.outcome is None:
            return False
        rows = validations(job.outcome.directory / "metrics.csv", self.study.objective)
        hopeless = self.study.is_hopeless(trial, rows, self._reported.get(trial.number, 0))
        self._reported[trial.number] = len(rows)
        if hopeless:
            job.end()
        return hopeless and job.code != 0

    def _conclude(self, trial: Trial, job: Job, *, pruned: bool) -> None:
        entry = entry_of(trial.label, job)
        name = f"best {self.study.objective}"
        score = entry.outcome.scores.get(name) if entry.outcome else None
        if pruned:
            outcome = job.outcome or Outcome(Path(), {}, repeated=False)
            entry = Entry(trial.label, outcome, None, "pruned")
        counts = self.study.tell(trial, score, pruned=pruned)
        if not counts and entry.error is None:
            entry = Entry(trial.label, None, f"the run has no number '{name}', got {score}.")
        self._entries.append(entry)
        state = "pruned" if pruned else "failed" if score is None else f"{score:.4g}"
        say(f"[{self.study.made}/{self.total}] {' '.join(trial.label)}: {state}")
        if entry.error is not None:
            say_error(entry.error)


def validations(path: Path, objective: str) -> list[tuple[int, float]]:
    """The steps at which the objective was measured, and its values, as far as they are written."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [(int(row["step"]), float(row[objective])) for row in rows if row.get(objective)]
