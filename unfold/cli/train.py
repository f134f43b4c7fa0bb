"""`unfold train`: compose, check everything, then run one job or a sweep."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unfold.cli.console import guarded, say
from unfold.cli.inspect import asks_to_inspect, show

if TYPE_CHECKING:
    from unfold.config.check import Checked


def main() -> None:
    """The command of `python train.py`."""
    sys.exit(guarded(train, sys.argv[1:]))


def train_command(words: Sequence[str]) -> int:
    """`unfold train`: the same, behind one more word that its processes repeat."""
    return train(words, prefix=("train",))


def train(words: Sequence[str], prefix: Sequence[str] = ()) -> int:
    """Train and evaluate what the words ask for.

    Args:
        words: flags and overrides.
        prefix: the words before them that lead here, `train` for the console script.

    Raises:
        UnfoldError: anything that is the user's to mend.
    """
    if "--help" in words or "-h" in words:
        from unfold.cli.help import text

        say(text())
        return 0
    if asks_to_inspect(words):
        return show(words)
    return _run(words, prefix)


def _run(words: Sequence[str], prefix: Sequence[str]) -> int:
    from unfold.cli.launch import command_of, take_launcher
    from unfold.config.compose import compose
    from unfold.config.search import search_method
    from unfold.launchers.parallel import end_with_sweep
    from unfold.launchers.shares import keep_to_cpus

    end_with_sweep()
    keep_to_cpus()
    launcher, words = take_launcher(words)
    method = search_method(words)
    if method is not None:
        from unfold.cli.search import search

        return search(method, words, prefix, launcher)
    composed = compose(words)
    from unfold.cli.runtime import as_single_job, keep_freed_memory
    from unfold.config.build import verify

    keep_freed_memory()  # before PyTorch allocates anything
    checked = verify(composed)
    from unfold.cli.job import run_job
    from unfold.runs.outcome import Outcome, tell

    if composed.repeated:
        say(f"note: {composed.repeated} points of the sweep are named twice and run once.")

    def run(one: "Checked") -> Outcome:
        with as_single_job([*prefix, *command_of(one)]):
            return run_job(one)

    if len(checked) == 1:
        tell(run(checked[0]))
        return 0
    from unfold.cli.sweep import run_all, run_apart

    objective = checked[0].settings.objective
    if launcher is None:
        run_all(checked, run, objective)
    else:
        run_apart(checked, prefix, launcher, objective)
    return 0
