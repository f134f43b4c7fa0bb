"""Searches: `sweep=random` draws its trials at once, `sweep=optuna` learns from those before."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from unfold.cli.console import say, say_error
from unfold.cli.sweeps.pool import Next, State, run_pool
from unfold.cli.sweeps.study import RUN, Budget, Study, Trial, readable_database
from unfold.cli.sweeps.sweep import Entry, conclude, entry_of, run_jobs_of
from unfold.config.arguments import TRAIN
from unfold.config.build import components_of, verify
from unfold.config.check import Checked
from unfold.config.compose import compose, preset_of_sweep
from unfold.config.overrides import key_of
from unfold.config.sweep import RANGES, SEARCH, Space, drawn, space_of
from unfold.errors import ConfigError, RunError, nearest
from unfold.launchers.launcher import Job, Launcher
from unfold.launchers.parallel import Parallel
from unfold.runs.catalogue import flat
from unfold.runs.processes import busy_directory, is_held
from unfold.runs.status import Outcome

KEYS = {"random": ("trials",), "optuna": tuple(field.name for field in fields(Budget))}
"""The settings of each search, behind `sweep.`."""

POLL = 0.3
"""Seconds between two reads of the curves of the trials."""


def search(
    method: str, arguments: Sequence[str], prefix: Sequence[str], launcher: Launcher | None
) -> int:
    """Run a search; the same command continues one that was interrupted, or takes part in it."""
    keys = (text.partition("=")[0] for text in arguments if text.startswith(SEARCH))
    # Every `sweep.KEY` is a key of the command: `budget_of` checks them.
    given = replace(TRAIN, keys=dict.fromkeys(keys, "of the search")).parse(arguments)
    flags = given.folder_flags
    preset = preset_of_sweep([*flags, *given.overrides], given.keys.get(RANGES))
    settings_of = {**preset.search, **given.keys}
    settings_of.pop(RANGES, None)
    budget = budget_of(method, settings_of)
    space = _live(flags, space_of(preset.overrides), given.overrides)
    starter = launcher or Parallel()
    if method == "random":
        run_jobs_of([_checked(flags, space, i) for i in range(budget.trials)], prefix, starter)
        return 0
    checked = _checked(flags, space, 0)
    settings, metric = checked.settings, checked.settings.objective.removeprefix("validation/")
    further = flat(checked.job.config).get(f"metrics.extra.{metric}._target_")
    with readable_database(settings.runs_dir):
        study = Study(space, settings.objective, settings.runs_dir, budget, further)
        learn(Trials(study, [*prefix, *flags], starter), settings.runs_dir)
    return 0


def budget_of(method: str, given: Mapping[str, Any]) -> Budget:
    """How many trials a search makes."""
    allowed = [f"{SEARCH}{key}" for key in KEYS[method]]
    for key, value in given.items():
        if key not in allowed:
            near = nearest(key, allowed)
            raise ConfigError(f"{key}: unknown key{near} Allowed: {', '.join(allowed)}.")
        if not str(value).removeprefix("-").isdecimal():
            raise ConfigError(f"{key} = {value}: a whole number is expected.")
    try:
        return Budget(**{key.removeprefix(SEARCH): int(value) for key, value in given.items()})
    except ConfigError as error:
        raise ConfigError(str(error).replace("Budget.", SEARCH)) from error


def _live(flags: Sequence[str], space: Space, typed: Sequence[str]) -> Space:
    """The space without the ranges of a preset that cannot act, which are named.

    Raises:
        ConfigError: one that is typed cannot act, or none is left.
    """
    from unfold.cli.job import learns

    (checked,) = verify(compose([*flags, *space.overrides(drawn(space, 0, 0))]))
    components = components_of(checked)
    dead = {k: why for k, why in components.reconstructor.dead.items() if k in space.domains}
    if not learns(components):
        unused = [k for k in space.domains if k.partition(".")[0] in ("optimizer", "scheduler")]
        dead |= dict.fromkeys(unused, "nothing is trained")
    if wrong := [key for key in dead if key in map(key_of, typed)]:
        raise ConfigError(f"{wrong[0]}: is searched and cannot act: {dead[wrong[0]]}.")
    for key, why in dead.items():
        say(f"note: {key} is not searched: {why}")
    left = {key: domain for key, domain in space.domains.items() if key not in dead}
    return space_of([*space.fixed]) if not left else replace(space, domains=left)


def _checked(flags: Sequence[str], space: Space, trial: int) -> Checked:
    """A random trial, composed and checked."""
    (checked,) = verify(compose([*flags, *space.overrides(drawn(space, 0, trial))]))
    return checked._replace(components=None)  # its job builds them in its own process


def learn(trials: "Trials", runs_dir: str) -> list[Entry]:
    """Run the trials of this process, and show what the study came to."""
    study = trials.study
    if made := study.made:
        say(f"{made} trials were made before.")
    entries = trials.run(runs_dir)
    if others := study.running:
        say(f"{others} trials still run in other processes.")
    if (best := study.best) is not None:
        for line in best.splitlines():
            say(line)
    return conclude(entries, study.objective, study.name, best=False)


class Trials:
    """The trials that this process runs, as many at a time as its launcher has places."""

    def __init__(self, study: Study, prefix: Sequence[str], launcher: Launcher) -> None:
        self.study, self.prefix, self.launcher = study, prefix, launcher
        self._trials: dict[int, Trial] = {}
        self._entries: list[Entry] = []

    def run(self, runs_dir: str) -> list[Entry]:
        """Run until the study asks for no more, and the trials of this process have ended."""
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
        return trial.number, [*self.prefix, *self.study.space.overrides(trial.values)]

    def _watch(self, number: int, job: Job) -> State:
        trial = self._trials[number]
        pruned = self._prune(trial, job)
        if job.code is None:
            return "running"
        if trial.busy is None and job.code == RunError.exit_code:
            trial.busy = busy_directory(job.error)
            if trial.busy is not None:
                say(f"{' '.join(trial.label)}: waits for the process that runs the same.")
        if trial.busy is not None:
            if is_held(trial.busy / ".lock"):
                return "running"
            trial.busy = None
            return "restart"
        self._conclude(trial, job, pruned=pruned)
        del self._trials[number]
        return "ended"

    def _prune(self, trial: Trial, job: Job) -> bool:
        """End a trial that is worse than others; whether it was ended."""
        if job.code is not None or job.outcome is None:
            return False
        rows = validations(job.outcome.directory / "metrics.csv", self.study.objective)
        hopeless = self.study.is_hopeless(trial, rows, trial.reported)
        trial.reported = len(rows)
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
        if entry.outcome:
            trial.trial.set_user_attr(RUN, str(entry.outcome.directory))
        counts = self.study.tell(trial, score, pruned=pruned)
        if not counts and entry.error is None:
            entry = Entry(trial.label, None, f"the run has no number '{name}', got {score}.")
        self._entries.append(entry)
        state = "pruned" if pruned else "failed" if score is None else f"{score:.4g}"
        say(f"[{self.study.made}/{self.study.budget.trials}] {' '.join(trial.label)}: {state}")
        if entry.error is not None:
            say_error(*entry.error.splitlines())


def validations(path: Path, objective: str) -> list[tuple[int, float]]:
    """The steps at which the objective was measured, and its values, as far as they are written."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [(int(row["step"]), float(row[objective])) for row in rows if row.get(objective)]
