"""`unfold train`: compose, check and build, then run one job or a sweep."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unfold.cli.console import guarded, say
from unfold.cli.inspect import asks_to_inspect, inspect

if TYPE_CHECKING:
    from unfold.config.check import Checked
    from unfold.runs.outcome import Outcome


def main() -> None:
    """The command of `python train.py`."""
    sys.exit(guarded(train, sys.argv[1:]))


def train_command(arguments: Sequence[str]) -> int:
    """`unfold train`: the same, after one more argument that its processes repeat."""
    return train(arguments, prefix=("train",))


def train(arguments: Sequence[str], prefix: Sequence[str] = ()) -> int:
    """Train and evaluate one configuration or the jobs of a sweep.

    Args:
        arguments: flags and overrides.
        prefix: the arguments before them that lead here, `train` for the console script.

    Raises:
        UnfoldError: anything that the user can correct.
    """
    if {"--help", "-h"} & set(arguments):
        from unfold.cli.help import text

        say(text())
        return 0
    if asks_to_inspect(arguments):
        return inspect(arguments)
    from unfold.cli.launch import take_launcher
    from unfold.config.compose import compose
    from unfold.config.search import search_method
    from unfold.launchers.parallel import end_with_sweep
    from unfold.launchers.shares import keep_to_cpus

    end_with_sweep()
    keep_to_cpus()
    launcher, arguments = take_launcher(arguments)
    method = search_method(arguments)
    if method is not None:
        from unfold.cli.search import search

        return search(method, arguments, prefix, launcher)
    composed = compose(arguments)
    from unfold.cli.runtime import keep_freed_memory
    from unfold.config.build import verify

    keep_freed_memory()  # before PyTorch allocates anything
    jobs = verify(composed)
    if composed.repeated:
        say(f"note: {composed.repeated} points of the sweep are named twice and run once.")
    if len(jobs) == 1:
        from unfold.runs.outcome import write_outcome

        write_outcome(_run(jobs[0], prefix))
        return 0
    from unfold.cli.sweep import run_in_process, run_jobs_of

    if launcher is None:
        run_in_process(jobs, lambda job: _run(job, prefix))
    else:
        run_jobs_of(jobs, prefix, launcher)
    return 0


def _run(job: "Checked", prefix: Sequence[str]) -> "Outcome":
    from unfold.cli.job import run_job
    from unfold.cli.pool import command_of
    from unfold.cli.runtime import as_single_job

    with as_single_job([*prefix, *command_of(job)]):
        return run_job(job)
