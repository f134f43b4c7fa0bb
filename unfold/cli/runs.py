"""`unfold list`, `show`, `diff` and `table`: what is stored of the runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unfold.cli.console import note, say, say_text, scores_table, short, table
from unfold.config.arguments import Syntax
from unfold.errors import ConfigError, listing, nearest
from unfold.runs import files
from unfold.runs.catalogue import Entry, catalogue, flat, read_entry, read_reference
from unfold.runs.compare import Difference, compare, legible
from unfold.runs.compare import differences as compared
from unfold.runs.identity import LEFT_OUT
from unfold.runs.results import COSTS, blocks, pairs, written
from unfold.runs.table import Pivot, csv_text, grid, latex, markdown, pivots

RUNS_DIR = {"runs_dir": "the folder of all runs; runs by default"}

LIST = Syntax(
    "list",
    "The state and the scores of every run whose name or path matches a pattern.",
    ("[GLOB]",),
    RUNS_DIR,
    overrides=False,
)

SHOW = Syntax("show", "What a run is and what it scored.", ("RUN",), RUNS_DIR, overrides=False)

DIFF = Syntax(
    "diff",
    "The differences of two runs in configuration, code, environment and results.",
    ("A", "B"),
    RUNS_DIR,
    overrides=False,
)

TABLE = Syntax(
    "table",
    "One score of many runs over two keys: mean ± standard deviation of the runs in each cell.",
    ("[GLOB]",),
    RUNS_DIR,
    {
        "--rows": "the key of the rows; algo by default, run where there are several values",
        "--cols": "the key of the columns; physics by default",
        "--value": "the score, or the end of its name; psnr by default; or several metrics and "
        f"costs with commas between: psnr,ssim,{','.join(COSTS)}",
        "--format": "terminal, md, latex or csv",
        "--where": "KEY=VALUE, or several with commas between: only runs that have these values",
    },
    overrides=False,
)

FORMATS = {"md": markdown, "markdown": markdown, "latex": latex, "csv": csv_text}
"""How a table can be written, in addition to that of the terminal."""


def list_runs(arguments: Sequence[str]) -> int:
    """Show the state and the scores of every run."""
    given = LIST.parse(arguments)
    entries = catalogue(given.runs_dir, *given.names)
    if not entries:
        say(f"no runs in {given.runs_dir}.")
        return 0
    apart = distinguishing(entries)
    rows = [
        (one.name, one.state, _scores(one), one.status.updated[:16], apart[one.path])
        for one in entries
    ]
    table(None, ("run", "state", "best, test", "updated (UTC)", "differs in"), rows)
    for one in entries:
        if one.state == "damaged":
            say(f"note: {one.name}: {one.status.reason}")
    return 0


def distinguishing(entries: Sequence[Entry]) -> dict[Path, str]:
    """What each run has that not all runs of the same readable name have."""
    families: dict[str, list[Entry]] = {}
    for one in entries:
        families.setdefault(one.path.parent.name, []).append(one)
    found = {}
    for family in families.values():
        made = {one.path: {**flat(one.config), **one.sets} for one in family}
        keys = {key for values in made.values() for key in values if key not in LEFT_OUT}
        # A reference to another key, data.seed to seed, differs with it.
        several = [k for k in sorted(keys) if len({str(v.get(k)) for v in made.values() if v}) > 1]
        named = [k for k in several if not (k.endswith(".seed") and "seed" in several)]
        texts = {key: legible([values.get(key, "-") for values in made.values()]) for key in named}
        for i, (path, values) in enumerate(made.items()):
            found[path] = _some([f"{key}={texts[key][i]}" for key in named if key in values], 4)
    return found


def _scores(entry: Entry) -> str:
    objective = str(entry.config.get("objective", "validation/psnr"))
    names = (f"best {objective}", objective.replace("validation/", "test/"))
    return ", ".join(f"{entry.scores[name]:.4g}" for name in names if name in entry.scores)


def show_run(arguments: Sequence[str]) -> int:
    """Show what a run is, what it was made from, and its scores."""
    given = SHOW.parse(arguments)
    run = read_reference(given.names[0], given.runs_dir)
    # The options inside the evaluation are many and rarely chosen.
    shown = {k: v for k, v in run.choices.items() if v != "None" and "@" not in k}
    lines = {
        "run": short(run.path),
        "state": run.state + (f": {run.status.reason}" if run.status.reason else ""),
        "started": run.status.started,
        "updated": f"{run.status.updated}, resumed {run.status.resumed} times",
        "overrides": " ".join(run.overrides) or "none",
        **shown,
        **_origin(files.origin_of(run.path)),
        "files": " ".join(sorted(path.name for path in run.path.iterdir())),
    }
    for name, text in lines.items():
        say(f"{name:<11} {text}")
    scores_table(run.scores)
    for path in sorted((run.path / "evaluations").glob("*/")):
        other = read_entry(path, path.name, ())
        changed = (f"{d.what}={d.other}" for d in compared(run.config, other.config))
        say(f"evaluation  {short(path)}, {other.state}: {_some(list(changed))}")
        if other.state == "damaged":
            say(f"note: {other.status.reason}")
        scores_table(other.scores)
    return 0


def _origin(origin: Mapping[str, Any]) -> dict[str, str]:
    git, machine = origin["git"] or {}, origin["machine"]
    cpu, threads, python = (machine.get(name, "?") for name in ("cpu", "threads", "python"))
    gpus = machine.get("gpus")
    starts = (f"{a.get('started')} {a.get('outcome') or 'running'}" for a in origin["attempts"])
    return {
        "seed": str(origin.get("seed", "?")),
        "images": str(origin.get("data", "?")),
        "code": f"unfold {origin.get('version')}, commit {git.get('commit', 'unknown')}"
        + (" with changes" if git.get("diff") else ""),
        "packages": ", ".join(f"{name} {version}" for name, version in origin["packages"].items()),
        "machine": f"{cpu}, {threads} threads, Python {python}",
        "gpus": (", ".join(map(str, gpus)) if isinstance(gpus, list) else str(gpus)) or "none",
        "history": "; ".join(starts),
    }


def diff_runs(arguments: Sequence[str]) -> int:
    """Show the differences of two runs in configuration, code, environment and results."""
    given = DIFF.parse(arguments)
    both = [read_reference(name, given.runs_dir) for name in given.names]
    one, other = (entry.path for entry in both)
    show_differences(compare(one, other), one, other)
    try:
        lines = list(pairs(*both))
    except ConfigError as error:
        say(str(error))
        return 0
    if lines:
        head = ("", short(one), short(other), "difference", "p (Wilcoxon)", "worst", "best")
        table("the same test images", head, lines)
    return 0


def show_differences(found: Mapping[str, Sequence[Difference]], one: Path, other: Path) -> None:
    """A table for each section; a section without differences is named as the same."""
    for section, differences in found.items():
        if differences:
            table(section, ("", short(one), short(other)), differences)
        else:
            say(f"{section}: the same")


def runs_table(arguments: Sequence[str]) -> int:
    """Show one score of many runs: mean ± standard deviation over the runs of each cell."""
    given = TABLE.parse(arguments)
    chosen = given.flags.get("--format", "terminal")
    if chosen not in (known := ("terminal", *FORMATS)):
        raise ConfigError(f"--format {chosen}{nearest(chosen, known)} Allowed: {listing(known)}.")
    defaults = {"--rows": "algo", "--cols": "physics", "--value": "psnr"}
    asked = (given.flags.get(flag, default) for flag, default in defaults.items())
    wanted = [text.partition("=") for text in given.flags.get("--where", "").split(",") if text]
    entries = catalogue(given.runs_dir, *given.names)
    kept = [e for e in entries if all(e.get(key) == value for key, _, value in wanted)]
    if entries and not kept:
        seen = listing({f"{key}={e.get(key)}" for e in entries for key, _, _ in wanted})
        raise ConfigError(f"--where {given.flags['--where']}: no run has it; they have {seen}.")
    if "," in (several := given.flags.get("--value", "")):
        if "--cols" in given.flags:
            raise ConfigError("--cols: several values are the columns; leave it out.")
        key = given.flags.get("--rows", "run")
        made, found = blocks(kept, key, [name for name in several.split(",") if name])
        for block in made:
            if chosen == "terminal":
                table(block.title, block.lines[0], block.lines[1:])
            else:
                say_text(written(block, chosen))
        tables = [found]
    else:
        for found in (tables := pivots(kept, *asked)):
            if chosen == "terminal":
                head, *lines = grid(found)
                table(found.title, head, lines)
            else:
                say_text(FORMATS[chosen](found))
    # What is pasted into a paper or read by a program holds the table only.
    for text in (text for one in tables for text in _notes(one)):
        (say if chosen == "terminal" else note)(text)
    return 0


def _notes(found: Pivot) -> Iterator[str]:
    """What the numbers do not show."""
    if mixed := found.mixed():
        yield f"note: runs of one cell differ in more than the seed: {_some(mixed)}."
    for reason, names in found.left_out.items():
        yield f"note: left out, {reason} ({len(names)}): {_some(names)}."


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
