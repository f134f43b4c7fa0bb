"""A table of runs: one score over two keys of the configuration."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from statistics import fmean, stdev
from typing import Any, TypeVar

from unfold.errors import ConfigError, listing, nearest
from unfold.evaluation import records
from unfold.evaluation.records import MARKS, Row, read_rows, rounded
from unfold.runs.catalogue import Entry, flat
from unfold.runs.identity import LEFT_OUT
from unfold.runs.seal import ROWS

T = TypeVar("T")

SAME = ("trainer.threads", "trainer.devices", "trainer.nodes", "trainer.strategy", *LEFT_OUT)
"""Keys in which runs may differ that are one computation, done twice."""

REPEATED = ("seed", *SAME)
"""Keys in which the runs of one cell may differ: they are repetitions of one another."""

STOPPED = f"† {MARKS['False']}"
"""The mark of a cell, and what it says."""

ENOUGH = 3
"""Repetitions that a standard deviation is given for."""

TESTED = "tested_on"
"""The axis of the operators that a run was evaluated on, each with its level of noise."""


@dataclass(frozen=True)
class Pivot:
    """The runs of every cell.

    Args:
        rows, columns: the keys, `algo` and `physics`.
        value: the score, by its full name.
        cells: the runs of a row and a column that have the score, each with its value.
        stopped: the same, those that did not converge on some image.
        left_out: the names of the runs that are in no cell, by the reason.
        only: what these runs have in common and those of other tables do not.
    """

    rows: str
    columns: str
    value: str
    cells: Mapping[tuple[str, str], Sequence[tuple[Entry, float]]]
    left_out: Mapping[str, Sequence[str]]
    stopped: Mapping[tuple[str, str], Sequence[Entry]]
    only: str = ""

    @property
    def title(self) -> str:
        """What the numbers are."""
        mark = f"; {STOPPED} for some images" if self.stopped else ""
        several = any(len(cell) >= ENOUGH for cell in self.cells.values())
        spread = " ± standard deviation (runs)" if several else " (runs; ± from three on)"
        return f"{self.value}{self.only and f', {self.only}'}: mean{spread}{mark}"

    def names(self, axis: int) -> list[str]:
        """The names of the rows (0) or of the columns (1), in order."""
        return sorted({cell[axis] for cell in self.cells})

    def values(self, row: str, column: str) -> list[float]:
        """The scores of one cell, each of another run."""
        return [score for _, score in self.cells.get((row, column), ())]

    def mixed(self) -> list[str]:
        """The keys that change numbers, except the seed, in which runs of one cell differ."""
        found: set[str] = set()
        for cell in self.cells.values():
            configs = [flat(entry.config) for entry, _ in cell]
            keys = {key for config in configs for key in config}
            found |= {k for k in keys if len({str(c.get(k)) for c in configs}) > 1}
        # All but that of an instrument follow the seed of the run.
        seeds = {k for k in found if k.endswith(".seed") and not k.startswith("physics.")}
        return sorted(key for key in found - seeds if not key.startswith(REPEATED))


def pivots(entries: Sequence[Entry], rows: str, columns: str, value: str) -> list[Pivot]:
    """Sort finished runs into cells; those whose scores have another meaning have another table.

    Rows and columns are keys of their configuration, or `tested_on`: the operators of their
    evaluations. The value is the score, or the end of its name; with `tested_on` the metric,
    `psnr`, averaged over the images.
    """
    across = TESTED in (rows, columns)
    value = value if across else full_name(value, entries)

    def measured(entry: Entry) -> Iterator[tuple[str, str, float, bool]]:
        for tested, score, stopped in _scores(entry, value, across=across):
            row, column = (tested if key == TESTED else entry.get(key) for key in (rows, columns))
            yield str(row), str(column), score, stopped

    axes, images = (rows, columns), "validation_set" if value.startswith("best ") else "test_set"
    whole = arranged(entries, axes, value, measured)
    shown = {entry.path: entry for cell in whole.cells.values() for entry, _ in cell}
    kinds = apart(shown.values(), lambda entry: meaning(entry, images, axes).items())
    if len(kinds) == 1:  # whose evaluations are read already
        return [whole]
    found = [replace(arranged(own, axes, value, measured), only=only) for only, own in kinds]
    return [replace(found[0], left_out=whole.left_out), *found[1:]]


def apart(
    items: Iterable[T], facts: Callable[[T], Iterable[tuple[str, str]]]
) -> list[tuple[str, list[T]]]:
    """The items of the same facts together, under those of their facts that not all have."""
    found: dict[tuple[tuple[str, str], ...], list[T]] = {}
    for item in items:
        found.setdefault(tuple(facts(item)), []).append(item)
    shared = set.intersection(*map(set, found)) if found else set()
    names = ([f"{k} {v}" for k, v in key if (k, v) not in shared] for key in found)
    return [(", ".join(name), own) for name, own in zip(names, found.values(), strict=True)]


def arranged(
    entries: Sequence[Entry],
    axes: tuple[str, str],
    value: str,
    measured: Callable[[Entry], Iterable[tuple[str, str, float, bool]]],
) -> Pivot:
    """Finished runs in the cells where they were measured, each computation once.

    `measured` gives a row, a column, the score, and whether it did not converge on some image.

    Raises:
        ConfigError: no run has a place.
    """
    cells: dict[tuple[str, str], list[tuple[Entry, float]]] = {}
    left_out: dict[str, list[str]] = {}
    ended: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        reason = _missing(entry, [key for key in axes if key])
        found = [] if reason else list(measured(entry))
        for row, column, score, stopped in found:
            cell = cells.setdefault((row, column), [])
            twins = [one.name for one, _ in cell if _computation(one) == _computation(entry)]
            if twins:
                left_out.setdefault(f"the same computation as {twins[0]}", []).append(entry.name)
            else:
                cell.append((entry, score))
                ended.setdefault((row, column), []).extend([entry] * stopped)
        if not found:
            left_out.setdefault(reason or f"without {value}", []).append(entry.name)
    if not cells:
        known = sorted({key for entry in entries for key in entry.choices})
        raise ConfigError(
            f"No finished run has {', '.join(filter(None, axes))} and {value}. Groups: "
            f"{listing(known)}; keys are written in full, algo.stepsize; {TESTED} is for runs with "
            "an evaluation, as are costs and several scores; unfold list shows the runs."
        )
    unique = {reason: list(dict.fromkeys(names)) for reason, names in left_out.items()}
    marked = {cell: several for cell, several in ended.items() if several}
    return Pivot(*axes, value, cells, unique, marked)


def _computation(entry: Entry) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """What a run computed: runs in which it is the same count once, whatever they are called."""
    items = flat(entry.config).items()
    return {k: v for k, v in items if not k.startswith((*SAME, "evaluation"))}, entry.sets


def is_axis(key: str, axes: Sequence[str]) -> bool:
    """Whether a key belongs to an axis of the table, as sets of images do to `data`."""
    names = (key, "data") if key.endswith("_set") else (key,)
    return any(f"{n}.".startswith(f"{axis.replace('/', '.')}.") for n in names for axis in axes)


def meaning(entry: Entry, images: str, axes: Sequence[str]) -> dict[str, str]:
    """What scores mean: the keys, apart from the axes, in which runs of a table must agree."""
    metrics = sorted(key for key in flat(entry.config) if key.startswith("metrics."))
    found = {key: entry.get(key) for key in (*metrics, "data.channels", images)}
    return {k: v for k, v in found.items() if v is not None and not is_axis(k, axes)}


def full_name(end: str, entries: Sequence[Entry]) -> str:
    """The one score of a table that a name or its end means: that of the test before any other.

    It is one for all runs: otherwise validation would be compared with test.
    """
    known = sorted({name for entry in entries for name in entry.scores})
    for exact in (end, f"test/{end}"):
        if exact in known:
            return exact
    found = [name for name in known if name.endswith(end)]
    if len(found) == 1:
        return found[0]
    if not known:
        return end
    why = f"fits {listing(found)}." if found else f"is not measured{nearest(end, known)}"
    raise ConfigError(f"--value {end}: {why} Scores: {listing(known)}.")


def _missing(entry: Entry, keys: Sequence[str]) -> str | None:
    """Why a run has no place in the table; None where it has one."""
    if entry.state == "damaged":
        return f"damaged: {entry.status.reason}"
    if entry.state != "finished":
        return "not finished"
    lacking = [key for key in keys if key != TESTED and entry.get(key) is None]
    return f"without {' and '.join(lacking)}" if lacking else None


def _scores(entry: Entry, value: str, *, across: bool) -> list[tuple[str, float, bool]]:
    """The score of a run, or one for every operator and noise that it was evaluated on.

    Also whether what was scored did not converge on some image.
    """
    if not across:
        ours, tv = not value.startswith("test/tv "), value.startswith("test/") and "tv" in value
        counts = {"test/not converged": ours, "test/tv not converged": tv}
        stopped = any(name in entry.scores for name, meant in counts.items() if meant)
        return [("", entry.scores[value], stopped)] if value in entry.scores else []
    path = entry.path / ROWS
    if not path.exists():
        return []
    found: dict[str, list[Row]] = {}
    for row in read_rows(path):
        if row.method == "ours" and row.metric == value and not isnan(row.value):
            found.setdefault(f"{row.tested_on}, {row.noise}", []).append(row)
    first, level = next(iter(found), ""), flat(entry.config).get("physics.noise.sigma")
    if first.endswith(", as trained") and isinstance(level, float):
        # What equals the condition of the training is not evaluated twice.
        found.setdefault(f"{first.removesuffix('as trained')}{level:g}", found[first])
    return [
        (name, fmean(r.value for r in rows), any(r.converged == "False" for r in rows))
        for name, rows in found.items()
    ]


def text_of(values: Sequence[float]) -> str:
    """Mean ± standard deviation, and of how many runs; the mean of two, empty without a run."""
    if len(values) < ENOUGH:
        count = f" ({len(values)})" if len(values) > 1 else ""
        return f"{rounded(fmean(values))}{count}" if values else ""
    mean = fmean(values)
    return f"{rounded(mean)} ± {rounded(stdev(values), mean)} ({len(values)})"


def grid(table: Pivot) -> list[list[str]]:
    """The lines of the table as text, the head first."""
    columns = table.names(1)
    head = [f"{table.rows} \\ {table.columns}", *columns]
    marked = dict.fromkeys(table.stopped, f" {STOPPED[0]}")
    lines = [
        [r, *(text_of(table.values(r, c)) + marked.get((r, c), "") for c in columns)]
        for r in table.names(0)
    ]
    return [head, *lines]


def markdown(table: Pivot) -> str:
    """The table in Markdown, under its title."""
    return f"**{table.title}**\n\n{records.markdown(grid(table))}"


def latex(table: Pivot) -> str:
    """The table in LaTeX, with the rules of booktabs."""
    (_, *columns), *lines = grid(table)
    return records.latex([[table.rows, *columns], *lines], table.title)


def csv_text(table: Pivot) -> str:
    """One line for each cell: its mean, its standard deviation, and how many runs, in full."""
    marked = ["not converged"] if table.stopped else []
    lines: list[list[Any]] = [[table.rows, table.columns, table.value, "std", "runs", *marked]]
    for row, column in sorted(table.cells):
        values = table.values(row, column)
        spread = stdev(values) if len(values) >= ENOUGH else ""
        stopped = [len(table.stopped.get((row, column), ()))] if marked else []
        lines.append([row, column, fmean(values), spread, len(values), *stopped])
    return records.csv_lines(lines, "\n").rstrip("\n")
