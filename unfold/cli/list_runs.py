"""`unfold list [GLOB] [runs_dir=DIR]`: the runs there are, the newest first."""

from collections.abc import Sequence

from unfold.cli.console import say, table
from unfold.config.arguments import Syntax
from unfold.runs.catalogue import Entry, catalogue

RUNS_DIR = {"runs_dir": "the folder of all runs; runs by default"}

SYNTAX = Syntax(
    "list",
    "The state and the scores of every run whose name or path matches a pattern.",
    ("[GLOB]",),
    RUNS_DIR,
    overrides=False,
)


def list_runs(arguments: Sequence[str]) -> int:
    """Show the state and the scores of every run."""
    given = SYNTAX.parse(arguments)
    entries = catalogue(given.runs_dir, *given.names)
    if not entries:
        say(f"no runs in {given.runs_dir}.")
        return 0
    rows = [(entry.name, entry.state, _scores(entry), entry.updated[:16]) for entry in entries]
    table(None, ("run", "state", "best, test", "updated (UTC)"), rows)
    return 0


def _scores(entry: Entry) -> str:
    objective = str(entry.config.get("objective", "validation/psnr"))
    names = (f"best {objective}", objective.replace("validation/", "test/"))
    return ", ".join(f"{entry.scores[name]:.4g}" for name in names if name in entry.scores)
