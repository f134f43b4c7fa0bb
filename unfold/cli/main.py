"""The console script `unfold`."""

import sys
from collections.abc import Sequence

from unfold.cli.report import guarded, say
from unfold.errors import ConfigError, listing, nearest

COMMANDS = ("train", "evaluate", "reconstruct", "compare-gradients")


def main() -> None:
    """The command `unfold`."""
    sys.exit(guarded(dispatch, sys.argv[1:]))


def dispatch(words: Sequence[str]) -> int:
    """Run the subcommand that the first word names.

    Raises:
        UnfoldError: anything that is the user's to mend.
    """
    command, rest = (words[0], words[1:]) if words else ("--help", ())
    if command in ("--help", "-h") or (command in COMMANDS and {"--help", "-h"} & set(rest)):
        from unfold.cli.help import text

        say(text())
        return 0
    if command == "train":
        from unfold.cli.train import train

        return train(rest, prefix=("train",))
    if command == "evaluate":
        from unfold.cli.evaluate import evaluate_run

        return evaluate_run(rest)
    if command == "reconstruct":
        from unfold.cli.reconstruct import reconstruct_image

        return reconstruct_image(rest)
    if command == "compare-gradients":
        from unfold.cli.compare_gradients import compare_gradients_of_batch

        return compare_gradients_of_batch(rest)
    near = nearest(command, COMMANDS)
    raise ConfigError(f"unknown command '{command}'{near} Allowed: {listing(COMMANDS)}.")
