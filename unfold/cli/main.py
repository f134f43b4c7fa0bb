"""The console script `unfold`."""

import importlib
import sys
from collections.abc import Callable, Sequence

from unfold.cli.console import guarded, say
from unfold.errors import ConfigError, listing, nearest

COMMANDS = {
    "train": "unfold.cli.train:train_command",
    "evaluate": "unfold.cli.evaluate:evaluate_run",
    "reconstruct": "unfold.cli.reconstruct:reconstruct_image",
    "explain": "unfold.cli.explain:explain",
    "doctor": "unfold.cli.doctor:doctor",
    "check": "unfold.cli.check:check",
    "list": "unfold.cli.list_runs:list_runs",
    "show": "unfold.cli.show:show_run",
    "diff": "unfold.cli.diff:diff_runs",
    "table": "unfold.cli.runs_table:runs_table",
    "reproduce": "unfold.cli.reproduce:reproduce",
    "compare-gradients": "unfold.cli.compare_gradients:compare_gradients_of_batch",
}
"""Where each subcommand is; imported when it is called."""


def main() -> None:
    """The command `unfold`."""
    sys.exit(guarded(dispatch, sys.argv[1:]))


def dispatch(arguments: Sequence[str]) -> int:
    """Run the subcommand that the first argument names; each has its own `--help`.

    Raises:
        UnfoldError: anything that the user can correct.
    """
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", ())
    if command in ("--help", "-h"):
        from unfold.cli.help import text

        say(text())
        return 0
    if command not in COMMANDS:
        near = nearest(command, COMMANDS)
        raise ConfigError(f"unknown command '{command}'{near} Allowed: {listing(COMMANDS)}.")
    module, _, name = COMMANDS[command].partition(":")
    run: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), name)
    return run(rest)
