"""`unfold show RUN`: what a run is, what it was made from, and its scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from unfold.cli.console import say, scores_table, short
from unfold.cli.list_runs import RUNS_DIR
from unfold.config.arguments import Syntax
from unfold.runs import files
from unfold.runs.catalogue import read_entry
from unfold.runs.reference import read_reference

SYNTAX = Syntax("show", "What a run is and what it scored.", ("RUN",), RUNS_DIR, overrides=False)


def show_run(arguments: Sequence[str]) -> int:
    """Show one run."""
    given = SYNTAX.parse(arguments)
    reference = read_reference(given.names[0], given.runs_dir)
    entry = read_entry(reference.path, reference.path.name)
    origin = files.read_json(reference.path / "provenance.json")
    state = reference.status
    lines = {
        "run": short(reference.path),
        "state": entry.state + (f": {state.reason}" if state.reason else ""),
        "started": state.started,
        "updated": f"{state.updated}, resumed {state.resumed} times",
        "overrides": " ".join(reference.overrides) or "none",
        **{name: choice for name, choice in reference.choices.items() if _is_shown(name, choice)},
        **_origin(origin),
        "files": " ".join(sorted(path.name for path in reference.path.iterdir())),
    }
    for name, text in lines.items():
        say(f"{name:<11} {text}")
    scores_table(entry.scores)
    return 0


def _is_shown(group: str, choice: str) -> bool:
    """Whether an option is worth a line: those inside the evaluation are many and rarely chosen."""
    return choice != "None" and "@" not in group


def _origin(origin: Mapping[str, Any]) -> dict[str, str]:
    git, machine = origin["git"] or {}, origin["machine"]
    dirty = " with changes" if git.get("diff") else ""
    packages = [f"{name} {version}" for name, version in origin["packages"].items()]
    return {
        "seed": str(origin["seed"]),
        "images": str(origin["data"]),
        "code": f"unfold {origin['version']}, commit {git.get('commit', 'unknown')}{dirty}",
        "packages": ", ".join(packages),
        "machine": f"{machine['cpu']}, {machine['threads']} threads, Python {machine['python']}",
        "gpus": ", ".join(machine["gpus"]) or "none",
        "history": "; ".join(
            f"{attempt['started']} {attempt['outcome'] or 'running'}"
            for attempt in origin.get("attempts", [])
        ),
    }
