"""Several figures of runs on the same test images: with intervals, costs, and in pairs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import isfinite, isnan
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from unfold.errors import ConfigError, listing, nearest
from unfold.evaluation import records
from unfold.evaluation.metrics import HIGHER_IS_BETTER
from unfold.evaluation.records import Bold, Row, read_rows, rounded
from unfold.evaluation.statistics import LEVEL, Interval, bootstrap, justified, paired
from unfold.runs import files
from unfold.runs.catalogue import Entry, flat
from unfold.runs.seal import ROWS

COST = "evaluation/cost.json"
COSTS = ("parameters", "network_calls", "operator_calls", "seconds", "memory")


class Block(NamedTuple):
    """A table of runs whose figures compare; others have one of their own, beside it.

    lines: the head first.
    values: of the cells without the first column, for CSV.
    """

    title: str
    lines: list[list[str]]
    values: list[list[Interval]]


def protocol(entry: Entry) -> tuple[str, ...]:
    """In what runs must agree for their figures to compare: test images, and their scores."""
    scored = {k: v for k, v in flat(entry.config).items() if k.startswith("metrics.")}
    return (f"test images {entry.sets.get('test_set')}", *(f"{k}={v}" for k, v in scored.items()))


def own_rows(entry: Entry) -> list[Row]:
    """The rows of its network under the first condition: that of the training."""
    rows = read_rows(entry.path / ROWS) if (entry.path / ROWS).is_file() else []
    first = rows[0] if rows else None
    return [
        r
        for r in rows
        if first and r.method == "ours" and (r.tested_on, r.noise) == (first.tested_on, first.noise)
    ]


def blocks(entries: Sequence[Entry], key: str, names: Sequence[str]) -> list[Block]:
    """Tables of several metrics and costs, a line for each value of a key of the configuration.

    A line of several runs has the mean of each image over them. The best mean is bold.

    Raises:
        ConfigError: a name is nowhere measured.
    """
    rows = {e.path: found for e in entries if e.state == "finished" and (found := own_rows(e))}
    known = dict.fromkeys(row.metric for found in rows.values() for row in found)
    for name in names:
        if name not in (*known, *COSTS):
            raise ConfigError(
                f"--value {name}: is not measured{nearest(name, [*known, *COSTS])} "
                f"Available: {listing([*known, *COSTS])}."
            )

    def kind(entry: Entry) -> tuple[str, ...]:
        one = rows[entry.path][0]
        return (f"{one.tested_on} ({one.noise})", *protocol(entry))

    made = []
    for shared, group in groupby(sorted((e for e in entries if e.path in rows), key=kind), kind):
        lines: dict[str, list[Entry]] = {}
        for entry in group:
            label = entry.name if key == "run" else str(entry.get(key))
            lines.setdefault(label, []).append(entry)
        values = [[_value(ones, name, rows) for name in names] for ones in lines.values()]
        best = [
            _best(name, column)
            for name, column in zip(names, zip(*values, strict=True), strict=True)
        ]
        cells = [
            [
                label,
                *(
                    Bold(t) if place == i else t
                    for t, place in zip(map(shown, v), best, strict=True)
                ),
            ]
            for i, (label, v) in enumerate(zip(lines, values, strict=True))
        ]
        title = f"{shared[0]}, {shared[1]}: mean ± half of the {LEVEL:.0%} interval over images"
        made.append(Block(title, [[key, *names], *cells], values))
    return made


def _value(entries: Sequence[Entry], name: str, rows: Mapping[Path, list[Row]]) -> Interval:
    if name in COSTS:
        found = [files.optional(e.path / COST).get(name) for e in entries]
        numbers = [float(x) for x in found if x is not None]
        nan = float("nan")
        return Interval(fmean(numbers) if numbers else nan, nan, nan, 0)
    images: dict[str, list[float]] = {}
    for row in (row for e in entries for row in rows[e.path] if row.metric == name):
        images.setdefault(row.image, []).append(row.value)
    means = [fmean(values) for values in images.values()]
    return bootstrap([value for value in means if not isnan(value)])


def _best(name: str, column: Sequence[Interval]) -> int | None:
    """The line of the best mean of a metric; None for a single one, and for what it costs."""
    if name in COSTS:
        return None
    means = [one.mean for one in column]
    order = max if HIGHER_IS_BETTER.get(name, False) else min
    found = [m for m in means if isfinite(m)]
    return means.index(order(found)) if len(set(found)) > 1 else None


def shown(value: Interval) -> str:
    """A figure as its interval justifies; a cost, or one of too few images, without one."""
    if value.images:
        return justified(value)
    whole = isfinite(value.mean) and value.mean == int(value.mean)
    return f"{int(value.mean):,}" if whole else rounded(value.mean)


def written(block: Block, form: str) -> str:
    """A table as Markdown, LaTeX, or CSV with a line for each cell."""
    if form == "latex":
        return records.latex(block.lines, block.title)
    if form != "csv":
        return f"**{block.title}**\n\n{records.markdown(block.lines)}\n"
    (key, *names), *lines = block.lines
    cells = zip((line[0] for line in lines), block.values, strict=True)
    every = [
        [label, n, *map(repr, v)] for label, vs in cells for n, v in zip(names, vs, strict=True)
    ]
    return records.csv_lines([[key, "value", "mean", "low", "high", "images"], *every], "\n")


def pairs(one: Entry, other: Entry) -> Iterator[tuple[str, ...]]:
    """A line for each condition and metric that two runs share: both, difference, interval, p.

    Raises:
        ConfigError: their figures do not compare.
    """
    if differs := [(a, b) for a, b in zip(protocol(one), protocol(other), strict=False) if a != b]:
        raise ConfigError(f"no images are compared: {differs[0][0]} and {differs[0][1]}.")
    same = all(
        other.get(k) == str(v) for k, v in flat(one.config).items() if k.startswith("physics.")
    )
    found: list[dict[tuple[str, str, str], dict[str, float]]] = []
    for entry in (one, other):
        values: dict[tuple[str, str, str], dict[str, float]] = {}
        for r in read_rows(entry.path / ROWS) if (entry.path / ROWS).is_file() else ():
            if r.method == "ours" and (same or not r.noise.startswith("as ")):
                values.setdefault((r.tested_on, r.noise, r.metric), {})[r.image] = r.value
        found.append(values)
    for place in (place for place in found[0] if place in found[1]):
        a, b = (values[place] for values in found)
        if (made := paired(a, b)) is None:
            continue
        d = made.difference
        text = justified(d) if d.known else f"{d.mean:+.3g}"
        chance = f"{made.p:.2g}" if isfinite(made.p) else "–"
        ends = made.ends[:: 1 if HIGHER_IS_BETTER.get(place[2], False) else -1]
        extreme = [f"{name} {value:+.3g}" for name, value in ends]
        means = [rounded(fmean(v for v in x.values() if isfinite(v))) for x in (a, b)]
        yield (f"{place[0]} ({place[1]}), {place[2]}", *means, text, chance, *extreme)
