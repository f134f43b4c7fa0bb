"""`unfold list [GLOB] [runs_dir=DIR]`: the runs there are, the newest first."""

from collections.abc import Sequence

from unfold.cli.arguments import run_words
from unfold.cli.console import say, table
from unfold.errors import ConfigError
from unfold.runs.catalogue import Entry, catalogue


def list_runs(words: Sequence[str]) -> int:
    """Show the state and the scores of every run.

    Raises:
        ConfigError: a flag, a second pattern, or a setting other than runs_dir.
        RunError: a file of a run is damaged.
    """
    typed = run_words("list", words)
    typed.only_runs_dir("list")
    if len(typed.names) > 1:
        raise ConfigError(
            f"unfold list takes one pattern, got {' '.join(typed.names)}. Put it in quotes."
        )
    entries = catalogue(typed.runs_dir, *typed.names)
    if not entries:
        say(f"no runs in {typed.runs_dir}.")
        return 0
    rows = [(entry.name, entry.state, _scores(entry), entry.updated[:16]) for entry in entries]
    table(None, ("run", "state", "best, test", "updated (UTC)"), rows)
    return 0


def _scores(entry: Entry) -> str:
    objective = str(entry.config.get("objective", "validation/psnr"))
    names = (f"best {objective}", objective.replace("validation/", "test/"))
    return ", ".join(f"{entry.scores[name]:.4g}" for name in names if name in entry.scores)
