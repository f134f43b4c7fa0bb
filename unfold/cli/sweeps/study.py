"""The database of a search, shared by all processes of the same command."""

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from unfold.config.sweep import Choice, Space
from unfold.disk import expand, odd_entries
from unfold.errors import ConfigError, RunError
from unfold.parameters.bounds import Declared, bounded, whole
from unfold.runs.processes import Lock, is_held

REDOES = "redoes"
"""The attribute of a trial that repeats the one of a lost process; holds its number."""

RUN = "run"
"""The attribute of a trial that has ended; holds the directory of its run."""

SEARCHES = ".searches"
"""The folder of the databases in that of the runs."""

PATIENCE = 60
"""Seconds to wait for other processes that write the database."""


@contextmanager
def readable_database(runs_dir: str) -> Iterator[None]:
    """Raise a RunError where the database of a search is damaged."""
    try:
        yield
    except Exception as error:
        owner = type(error).__module__.partition(".")[0]
        if owner not in ("optuna", "sqlalchemy", "sqlite3") and "schema" not in str(error):
            raise
        raise RunError(
            f"{expand(runs_dir, 'runs_dir') / SEARCHES}: the database of this search cannot be "
            f"used: {' '.join(str(error).split())} Move its .sqlite file away: the search starts "
            "anew, and a trial whose run is finished is not computed again."
        ) from error


@dataclass(frozen=True)
class Budget(Declared):
    """How many trials a search makes, and when it prunes one.

    Args:
        trials: of the whole study, in all its processes; those that fail meanwhile count, and
            are replaced by the next start of the command.
        startup: trials that finish before any is pruned.
        warmup: validations of a trial before it may be pruned.
    """

    trials: int = bounded(20, whole(1, 100_000))
    startup: int = bounded(5, whole(1))
    warmup: int = bounded(5, whole(0))


@dataclass
class Trial:
    """A trial of optuna that this process runs; its lock, held meanwhile, shows others that it is.

    reported: how many of its validations the study knows.
    busy: the run directory that it waits for, which another process is writing.
    """

    trial: Any
    values: dict[str, Any]
    lock: Lock
    reported: int = 0
    busy: Path | None = None

    @property
    def number(self) -> int:
        return int(self.trial.number)

    @property
    def label(self) -> tuple[str, ...]:
        return tuple(f"{key}={value}" for key, value in self.values.items())


class Study:
    """A search whose trials are chosen by a tree of Parzen estimators, and pruned by the median.

    A trial is alive while its lock is held; the system drops the lock with its process. A trial
    that is not alive is marked as failed, and its values are tried again: its run resumes.

    Source: Bergstra, Bardenet, Bengio and Kégl, Algorithms for hyper-parameter optimization,
    NeurIPS 2011; Watanabe, Tree-structured Parzen estimator, arXiv:2304.11127, 2023. A running
    trial counts as a bad one (the constant liar), so that no other process tries what is near it.
    """

    def __init__(
        self,
        space: Space,
        objective: str,
        runs_dir: str,
        budget: Budget,
        further: str | None = None,
    ) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError(
                "sweep=optuna needs the package optuna: pip install optuna, or sweep=random."
            ) from error
        from unfold.evaluation.metrics import objective_mode

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna: Any = optuna
        self._states = optuna.trial.TrialState
        self.space, self.budget, self.objective = space, budget, objective
        text = json.dumps([*space.fixed, repr(space.domains)])
        self.name = name = hashlib.sha256(text.encode()).hexdigest()[:8]
        root = expand(runs_dir, "runs_dir").resolve() / SEARCHES
        if odd := root if root.is_symlink() else next(odd_entries(root), None):
            raise RunError(f"{odd} is a link, and nothing is written through one. Remove it.")
        self._folder = root / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._turn = FileLock(self._folder / "turn", fallback_to_soft=False)
        mode = objective_mode(objective, (objective.removeprefix("validation/"),), further)
        with self._turn:  # two processes would both make the tables
            self._study: Any = optuna.create_study(
                storage=optuna.storages.RDBStorage(
                    f"sqlite:///{root / name}.sqlite",
                    engine_kwargs={"connect_args": {"timeout": PATIENCE}},
                ),
                study_name=name,
                load_if_exists=True,
                direction="maximize" if mode == "max" else "minimize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=budget.startup),
            )
            self._failed_before = self.failed

    def ask(self) -> Trial | None:
        """The next trial; None where all are made, or run in other processes.

        A trial that failed since this process began, in whichever process, counts as made.
        """
        with self._turn:
            self._requeue_lost()
            failed = self.failed - self._failed_before
            if self.made + self.running + failed >= self.budget.trials:
                return None
            # Seeded by its number, repeated ones left out, so that a search that is interrupted
            # chooses as one that is not.
            seed = sum(REDOES not in trial.user_attrs for trial in self._trials())
            with warnings.catch_warnings():
                # Before version 5 optuna called the constant liar an experiment.
                warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
                self._study.sampler = self._optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=5, constant_liar=True
                )
            trial = self._study.ask()
            lock = Lock(self._lock_of(trial.number))
            lock.acquire()
            values = {key: self._suggest(trial, key) for key in self.space.domains}
            return Trial(trial, values, lock)

    def _requeue_lost(self) -> None:
        for lost in self._trials(self._states.RUNNING):
            path = self._lock_of(lost.number)
            if not is_held(path):
                self._study.tell(lost.number, state=self._states.FAIL)
                self._study.enqueue_trial(lost.params, user_attrs={REDOES: lost.number})
                path.unlink(missing_ok=True)

    def _lock_of(self, number: int) -> Path:
        return self._folder / f"{number}.lock"

    def _suggest(self, trial: Any, key: str) -> Any:
        domain = self.space.domains[key]
        if isinstance(domain, Choice):
            return trial.suggest_categorical(key, list(domain.values))
        if domain.whole:
            low, high = int(domain.low), int(domain.high)
            return trial.suggest_int(key, low, high, step=domain.step)
        return trial.suggest_float(key, domain.low, domain.high, log=domain.log)

    def is_hopeless(self, trial: Trial, rows: Sequence[tuple[int, float]], known: int) -> bool:
        """Whether a trial is worse than others at this step; `known` rows are reported already."""
        for step, value in rows[known:]:
            trial.trial.report(value, step)
        return len(rows) > max(known, self.budget.warmup) and bool(trial.trial.should_prune())

    def tell(self, trial: Trial, score: float | None, *, pruned: bool) -> bool:
        """Store how a trial ended; whether it counts, which one that failed does not."""
        failed = not pruned and (score is None or math.isnan(score))
        state = self._states.PRUNED if pruned else self._states.FAIL if failed else None
        with self._turn:  # a process that looks for lost trials sees both or neither
            self._study.tell(trial.trial, score if state is None else None, state=state)
            self._lock_of(trial.number).unlink(missing_ok=True)
            trial.lock.release()
        return not failed

    def _trials(self, *states: Any) -> list[Any]:
        found: list[Any] = self._study.get_trials(deepcopy=False, states=states or None)
        return found

    @property
    def made(self) -> int:
        """Trials that ended, in all processes, without those that failed."""
        return len(self._trials(self._states.COMPLETE, self._states.PRUNED))

    @property
    def failed(self) -> int:
        """Trials that failed, in all processes, without those that were repeated."""
        redone = {trial.user_attrs.get(REDOES) for trial in self._trials()}
        return sum(trial.number not in redone for trial in self._trials(self._states.FAIL))

    @property
    def running(self) -> int:
        """Trials that run, in all processes."""
        return len(self._trials(self._states.RUNNING))

    @property
    def best(self) -> str | None:
        """The best score with its values; None before there is any."""
        if not self._trials(self._states.COMPLETE):
            return None
        best = self._study.best_trial
        shown = " ".join(f"{key}={value}" for key, value in best.params.items())
        where = best.user_attrs.get(RUN, "RUN")
        return f"best {self.objective} {best.value:.4g}: {shown}\n{evaluation_of(where)}"


def evaluation_of(run: str | Path) -> str:
    """The command that evaluates a run."""
    return f"unfold evaluate run={run} evaluation=auto"
