"""Searches: `sweep=random` draws its trials at once, `sweep=optuna` learns from those before."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from unfold.cli.console import say
from unfold.cli.study import Budget, Study
from unfold.cli.sweep import Entry, conclude, run_jobs_of
from unfold.cli.trials import Trials
from unfold.config.arguments import TRAIN, Syntax
from unfold.config.build import verify
from unfold.config.check import Checked
from unfold.config.compose import compose, preset_of_sweep
from unfold.config.search import Space, drawn, space_of
from unfold.config.sweep import SEARCH
from unfold.errors import ConfigError, nearest
from unfold.launchers.launcher import Launcher
from unfold.launchers.parallel import Parallel

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
