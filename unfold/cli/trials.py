"""The trials of a search as jobs: started, watched, ended early, told to the study."""

import csv
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, say_error
from unfold.cli.launch import all_ended, job_folder
from unfold.cli.study import Asked, Study
from unfold.cli.sweep import Entry, entry_of
from unfold.config.search import Space
from unfold.errors import RunError
from unfold.launchers.launcher import Job, Launcher
from unfold.runs.lock import busy_directory, is_held
from unfold.runs.outcome import Outcome

POLL = 0.3
"""Seconds between two looks at the curves of the trials."""


class Trials:
    """The trials that this process runs, as many at a time as its launcher has places.

    Args:
        study: which it asks for them.
        space: what is searched.
        lead: the words before those of every trial.
        launcher: starts them.
        total: how many trials the study makes, in all its processes.
    """

    def __init__(
        self, study: Study, space: Space, lead: Sequence[str], launcher: Launcher, total: int
    ) -> None:
        self.study, self.space, self.lead = study, space, lead
        self.launcher, self.total = launcher, total
        self._asked: dict[int, Asked] = {}
        self._running: dict[int, tuple[int, Job]] = {}
        self._reported: dict[int, int] = {}
        self._busy: dict[int, Path] = {}
        self._entries: list[Entry] = []

    def run(self, runs_dir: str) -> list[Entry]:
        """Go on until the study asks for no more, and those of this process have ended.

        Args:
            runs_dir: the folder of all runs.

        Raises:
            PreemptedError: a signal asked to end; the trials have saved their state.
        """
        free = list(range(self.launcher.jobs))
        try:
            with job_folder(self.launcher, Path(runs_dir)) as folder, all_ended(self._running):
                while True:
                    while free and (asked := self.study.ask()) is not None:
                        self._asked[asked.trial.number] = asked
                        self._start(asked, free.pop(), folder)
                    if not self._running:
                        return self._entries
                    free += self._looked_at(folder)
                    time.sleep(max(POLL, self.launcher.poll))
        finally:
            for asked in self._asked.values():  # where it is cut short, others may take them up
                asked.lock.release()

    def _start(self, asked: Asked, slot: int, folder: Path) -> None:
        words = [*self.lead, *self.space.words(asked.values)]
        own = Path(tempfile.mkdtemp(dir=folder))
        self._running[asked.trial.number] = (slot, self.launcher.start(words, own, slot))

    def _looked_at(self, folder: Path) -> list[int]:
        """Look at every trial once; the places that became free."""
        free: list[int] = []
        for number, (slot, job) in list(self._running.items()):
            asked = self._asked[number]
            pruned = self._ended_early(asked, job)
            if job.code is None:
                continue
            if (run := self._busy_run(asked, job)) is not None:
                if not is_held(run / ".lock"):
                    del self._busy[number]
                    self._start(asked, slot, folder)
                continue
            self._conclude(asked, job, pruned=pruned)
            del self._running[number], self._asked[number]
            free.append(slot)
        return free

    def _busy_run(self, asked: Asked, job: Job) -> Path | None:
        """The run directory of a trial that another process writes at the moment."""
        number = asked.trial.number
        if number not in self._busy and job.code == RunError.exit_code:
            run = busy_directory(job.error)
            if run is not None:
                self._busy[number] = run
                say(f"{' '.join(asked.label)}: waits for the process that runs the same.")
        return self._busy.get(number)

    def _ended_early(self, asked: Asked, job: Job) -> bool:
        """End a trial that others leave behind; whether it was."""
        if job.code is not None or job.outcome is None:
            return False
        number = asked.trial.number
        rows = validations(job.outcome.directory / "metrics.csv", self.study.objective)
        hopeless = self.study.is_hopeless(asked, rows, self._reported.get(number, 0))
        self._reported[number] = len(rows)
        if hopeless:
            job.end()
        return hopeless and job.code != 0

    def _conclude(self, asked: Asked, job: Job, *, pruned: bool) -> None:
        entry = entry_of(asked.label, job)
        name = f"best {self.study.objective}"
        score = entry.outcome.scores.get(name) if entry.outcome else None
        if pruned:
            outcome = job.outcome or Outcome(Path(), {}, repeated=False)
            entry = Entry(asked.label, outcome, None, "pruned")
        counts = self.study.tell(asked, score, pruned=pruned)
        if not counts and entry.error is None:
            entry = Entry(asked.label, None, f"the run has no number '{name}', got {score}.")
        self._entries.append(entry)
        state = "pruned" if pruned else "failed" if score is None else f"{score:.4g}"
        say(f"[{self.study.made}/{self.total}] {' '.join(asked.label)}: {state}")
        if entry.error is not None:
            say_error(entry.error)


def validations(path: Path, objective: str) -> list[tuple[int, float]]:
    """The steps at which the objective was measured, and its values, as far as they are written."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [(int(row["step"]), float(row[objective])) for row in rows if row.get(objective)]
