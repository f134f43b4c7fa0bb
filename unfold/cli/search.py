"""Searches: `sweep=random` draws its trials at once, `sweep=optuna` learns from those before."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from unfold.cli.console import say, say_error
from unfold.cli.pool import Next, State, run_pool
from unfold.cli.study import Budget, Study, Trial
from unfold.cli.sweep import Entry, conclude, entry_of, run_jobs_of
from unfold.config.arguments import TRAIN, Syntax
from unfold.config.build import verify
from unfold.config.check import Checked
from unfold.config.compose import compose, preset_of_sweep
from unfold.config.sweep import SEARCH, Space, drawn, space_of
from unfold.errors import ConfigError, RunError, nearest
from unfold.launchers.launcher import Job, Launcher
from unfold.launchers.parallel import Parallel
from unfold.runs.processes import busy_directory, is_held
from unfold.runs.status import Outcome

KEYS = {"random": ("trials",), "optuna": tuple(field.name for field in fields(Budget))}
"""The settings of each search, behind `sweep.`."""


def search(
    method: str, arguments: Sequence[str], prefix: Sequence[str], launcher: Launcher | None
) -> int:
    """Run a search; the same command continues one that was interrupted, or takes part in it.

    Raises:
        ConfigError: a mistake in the arguments, or optuna is not installed.
        SweepError: some trials failed; the others are done.
        PreemptedError: a signal ended it; the same command continues it.
    """
    given = _syntax(arguments).parse(arguments)
    flags = given.folder_flags
    preset = preset_of_sweep([*flags, *given.overrides])
    budget = budget_of(method, {**preset.search, **given.keys})
    space = space_of(preset.overrides)
    count = budget.trials if method == "random" else 1
    checked = [_checked(flags, space, i) for i in range(count)]
    settings = checked[0].settings
    starter = launcher or Parallel()
    if method == "random":
        run_jobs_of(checked, prefix, starter)
        return 0
    study = Study(space, settings.objective, settings.runs_dir, budget)
    trials = Trials(study, space, [*prefix, *flags], starter, budget.trials)
    learn(study, trials, settings.runs_dir)
    return 0


def _syntax(arguments: Sequence[str]) -> Syntax:
    """That of a training, with every `sweep.KEY` as a key of the command: `budget_of` checks."""
    keys = (text.partition("=")[0] for text in arguments if text.startswith(SEARCH))
    return replace(TRAIN, keys=dict.fromkeys(keys, "of the search"))


def budget_of(method: str, given: Mapping[str, Any]) -> Budget:
    """How many trials a search makes.

    Args:
        method: which search.
        given: its settings, by full key.

    Raises:
        ConfigError: a key that it does not have, or a value that is no count.
    """
    allowed = [f"{SEARCH}{key}" for key in KEYS[method]]
    counts: dict[str, int] = {}
    for key, value in given.items():
        if key not in allowed:
            near = nearest(key, allowed)
            raise ConfigError(f"{key}: unknown key{near} Allowed: {', '.join(allowed)}.")
        if not str(value).lstrip("-").isdigit():
            raise ConfigError(f"{key} = {value}: a whole number is expected.")
        counts[key.removeprefix(SEARCH)] = int(value)
    try:
        return Budget(**counts)
    except ConfigError as error:
        raise ConfigError(str(error).replace("Budget.", SEARCH)) from error


def learn(study: Study, trials: Trials, runs_dir: str) -> list[Entry]:
    """Run the trials of this process, and show what the study came to.

    Raises:
        SweepError: some failed.
        PreemptedError: a signal ended the search.
    """
    if made := study.made:
        say(f"{made} trials were made before.")
    entries = trials.run(runs_dir)
    if others := study.running:
        say(f"{others} trials still run in other processes.")
    if (best := study.best) is not None:
        say(best)
    return conclude(entries, study.objective)


def _checked(flags: Sequence[str], space: Space, trial: int) -> Checked:
    """A random trial, composed and checked."""
    (checked,) = verify(compose([*flags, *space.overrides(drawn(space, 0, trial))]))
    return checked._replace(components=None)  # its job builds them in its own process


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
