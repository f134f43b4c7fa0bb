"""Searches: `sweep=random` draws its trials at once, `sweep=optuna` learns from those before."""

import csv
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unfold.cli.report import say
from unfold.cli.sweep import Entry, concluded, entry_of, run_apart
from unfold.cli.words import split
from unfold.config.build import verify
from unfold.config.check import Checked
from unfold.config.compose import compose, preset_of_sweep
from unfold.config.search import Choice, Space, drawn, space_of
from unfold.errors import ConfigError, PreemptedError
from unfold.launchers.launcher import Job, Launcher
from unfold.launchers.parallel import Parallel, Process
from unfold.runs.outcome import Outcome
from unfold.training.stopping import raising_signals

POLL = 0.3
"""Seconds between two looks at the curves of a trial."""


def search(
    method: str, words: Sequence[str], prefix: Sequence[str], launcher: Launcher | None
) -> int:
    """Run a search; the same command continues one that was interrupted.

    Raises:
        ConfigError: a mistake in the words, or optuna is not installed.
        SweepError: some trials failed; the others are done.
        PreemptedError: a signal ended it; the same command continues it.
    """
    own = split(words, ("sweep.trials",))
    trials = own.own.get("sweep.trials", "20")
    if not trials.isdigit() or int(trials) < 1:
        raise ConfigError(f"sweep.trials = {trials}: must be 1 or above.")
    flags = _flags(own.overrides)
    space = space_of(preset_of_sweep(own.overrides))
    checked = [_checked(flags, space, i) for i in range(int(trials) if method == "random" else 1)]
    objective = checked[0].settings.objective
    if method == "random":
        run_apart(checked, prefix, launcher or Parallel(), objective)
        return 0
    if launcher not in (None, Parallel()):
        raise ConfigError(
            "hydra/launcher: sweep=optuna runs its trials one after another, on this machine. "
            "Leave hydra/launcher and hydra.launcher.jobs out, or take sweep=random."
        )
    settings = checked[0].settings
    Study(space, [*prefix, *flags], settings.objective, settings.runs_dir).run(int(trials))
    return 0


def _flags(words: Sequence[str]) -> list[str]:
    """The folders of the user's own options."""
    found: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.partition("=")[0] in ("-cd", "--config-dir"):
            found += [word] if "=" in word else [word, following]
    return found


def _checked(flags: Sequence[str], space: Space, trial: int) -> Checked:
    """A random trial, composed and checked."""
    (checked,) = verify(compose([*flags, *space.words(drawn(space, 0, trial))]))
    return checked


class Study:
    """A search whose trials are chosen by a tree of Parzen estimators, and pruned by the median.

    Source: Bergstra, Bardenet, Bengio and Kégl, Algorithms for hyper-parameter optimization,
    NeurIPS 2011.

    Args:
        space: what is searched.
        lead: the words before those of every trial.
        objective: the validation metric that is improved.
        runs_dir: where the trials, and what is known of them, are kept.

    Raises:
        ConfigError: optuna is not installed.
    """

    def __init__(self, space: Space, lead: Sequence[str], objective: str, runs_dir: str) -> None:
        try:
            import optuna
        except ImportError as error:
            text = "sweep=optuna needs the package optuna: pip install optuna, or sweep=random."
            raise ConfigError(text) from error
        from unfold.training.fit import objective_mode

        self._optuna: Any = optuna
        self._space, self._lead, self._objective = space, lead, objective
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name = hashlib.sha256(json.dumps([*space.fixed, repr(space.domains)]).encode()).hexdigest()
        folder = Path(runs_dir).expanduser() / ".searches"
        folder.mkdir(parents=True, exist_ok=True)
        mode = objective_mode(self._objective, (self._objective.removeprefix("validation/"),))
        self._study = optuna.create_study(
            storage=f"sqlite:///{(folder / f'{name[:8]}.sqlite').resolve()}",
            study_name=name[:8],
            load_if_exists=True,
            direction="maximize" if mode == "max" else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )

    def run(self, trials: int) -> list[Entry]:
        """Go on until there are as many trials.

        Raises:
            SweepError: some failed.
            PreemptedError: a signal ended the search.
        """
        states = self._optuna.trial.TrialState
        for left in self._study.get_trials(states=(states.RUNNING,)):
            # Its process is gone; what it had reached is in its run directory, and goes on there.
            self._study.tell(left.number, state=states.FAIL)
            self._study.enqueue_trial(left.params)
        done = [t for t in self._study.trials if t.state in (states.COMPLETE, states.PRUNED)]
        if done:
            say(f"{len(done)} trials were made before.")
        entries = [self._one(number, trials) for number in range(len(done) + 1, trials + 1)]
        if self._study.get_trials(states=(states.COMPLETE,)):
            best = self._study.best_trial
            shown = " ".join(f"{key}={value}" for key, value in best.params.items())
            say(f"best {self._objective} {best.value:.4g}: {shown}")
        return concluded(entries, self._objective)

    def _one(self, number: int, trials: int) -> Entry:
        states = self._optuna.trial.TrialState
        # Seeded by its number, so that a search that is interrupted chooses as one that is not.
        self._study.sampler = self._optuna.samplers.TPESampler(seed=number, n_startup_trials=5)
        trial = self._study.ask()
        values = {key: self._suggest(trial, key) for key in self._space.domains}
        label = tuple(f"{key}={value}" for key, value in values.items())
        with tempfile.TemporaryDirectory() as folder, raising_signals():
            job = Process([*self._lead, *self._space.words(values)], Path(folder))
            try:
                pruned = self._watch(trial, job)
            except PreemptedError:
                job.end()
                raise
            entry = entry_of(label, job)
            score = entry.outcome and entry.outcome.scores.get(f"best {self._objective}")
            if pruned:
                self._study.tell(trial, state=states.PRUNED)
                outcome = job.outcome or Outcome(Path(), {}, repeated=False)
                entry = Entry(label, outcome, None, "pruned")
            elif score is None:
                self._study.tell(trial, state=states.FAIL)
            else:
                self._study.tell(trial, score)
        state = "pruned" if pruned else "failed" if score is None else f"{score:.4g}"
        say(f"[{number}/{trials}] {' '.join(label)}: {state}")
        return entry

    def _suggest(self, trial: Any, key: str) -> Any:
        domain = self._space.domains[key]
        if isinstance(domain, Choice):
            return trial.suggest_categorical(key, list(domain.values))
        if domain.whole:
            return trial.suggest_int(key, int(domain.low), int(domain.high))
        return trial.suggest_float(key, domain.low, domain.high, log=domain.log)

    def _watch(self, trial: Any, job: Job) -> bool:
        """Wait for the end, and end a trial early that others leave behind; whether it was."""
        reported = -1
        while job.code is None:
            time.sleep(POLL)
            if job.outcome is None:
                continue
            path = job.outcome.directory / "metrics.csv"
            for step, value in validations(path, self._objective):
                if step > reported:
                    trial.report(value, step)
                    reported = step
            if trial.should_prune():
                job.end()
                return job.code != 0
        return False


def validations(path: Path, objective: str) -> list[tuple[int, float]]:
    """The steps at which the objective was measured, and its values, as far as they are written."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [(int(row["step"]), float(row[objective])) for row in rows if row.get(objective)]
