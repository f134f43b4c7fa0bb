"""Several figures of runs on the same test images: with intervals, costs, and in pairs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite, isnan, nan
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from unfold.errors import ConfigError, listing, nearest
from unfold.evaluation import records
from unfold.evaluation.metrics import higher_is_better
from unfold.evaluation.records import Bold, Row, read_rows, rounded
from unfold.evaluation.statistics import LEVEL, Interval, bootstrap, justified, paired
from unfold.runs import files
from unfold.runs.catalogue import Entry, flat
from unfold.runs.seal import COST, ROWS
from unfold.runs.table import STOPPED, Pivot, arranged, is_axis, meaning

COSTS = ("parameters", "network_calls", "operator_calls", "seconds", "memory")


class Block(NamedTuple):
    """A table of runs whose figures compare; others have one of their own, beside it.

    lines: the head first.
    values: of the cells without the first column, for CSV.
    stopped: how many runs of each line did not converge on some image.
    """

    title: str
    lines: list[list[str]]
    values: list[list[Interval]]
    stopped: list[int]


def rows_of_run(entry: Entry) -> list[Row]:
    """What its own evaluation measured; nothing where there was none."""
    return read_rows(entry.path / ROWS) if (entry.path / ROWS).is_file() else []


def of_training(rows: Sequence[Row]) -> list[Row]:
    """The rows of the network under the first condition: that of the training."""
    place = (rows[0].tested_on, rows[0].noise) if rows else None
    return [r for r in rows if r.method == "ours" and (r.tested_on, r.noise) == place]


def blocks(entries: Sequence[Entry], key: str, names: Sequence[str]) -> tuple[list[Block], Pivot]:
    """Tables of several metrics and costs, a line for each value of a key of the configuration.

    A line of several runs has the mean of each image over them. Means are over the images for
    which every run of the table is defined, and the best is bold, unless the lines are of other
    problems. Also the runs by line and table, and what is left out.

    Raises:
        ConfigError: no finished run has the key and an evaluation; a name is nowhere measured.
    """
    rows = {
        e.path: found
        for e in entries
        if e.state == "finished" and (found := of_training(rows_of_run(e)))
    }
    titles = _titles([e for e in entries if e.path in rows], rows, key)

    def measured(entry: Entry) -> list[tuple[str, str, float, bool]]:
        label, flags = entry.get(key), {row.converged for row in rows.get(entry.path, ())}
        held = label is not None and entry.path in rows
        return [(str(label), titles[entry.path], nan, "False" in flags)] if held else []

    table = arranged(entries, (key, ""), ", ".join(names), measured)
    known = [*dict.fromkeys(row.metric for own in rows.values() for row in own), *COSTS]
    if unknown := next((name for name in names if name not in known), None):
        why = f"is not measured{nearest(unknown, known)}"
        raise ConfigError(f"--value {unknown}: {why} Available: {listing(known)}.")
    left_out, made = dict(table.left_out), list[Block]()
    for title in table.names(1):
        lines = {a: [e for e, _ in cell] for (a, at), cell in table.cells.items() if at == title}
        stopped = [len(table.stopped.get((label, title), ())) for label in lines]
        columns, cells = list[list[Interval]](), [[label] for label in lines]
        for name in names:
            column, lost = _column(list(lines.values()), name, rows, compared=not _problem(key))
            columns.append(column)
            if lost:
                left_out[f"{name} undefined for some run"] = lost
            first = next(iter(lines.values()))[0]
            best = None if _problem(key) else _best(column, direction(first, name))
            for i, value in enumerate(column):
                mark = f" {STOPPED[0]}" if stopped[i] and name not in COSTS else ""
                cells[i].append((Bold if i == best else str)(shown(value) + mark))
        legend = f"; {STOPPED} for some images" if any(stopped) else ""
        title += f": mean ± half of the {LEVEL:.0%} interval over images{legend}"
        values = [list(line) for line in zip(*columns, strict=True)]
        made.append(Block(title, [[key, *names], *cells], values, stopped))
    return made, replace(table, left_out=left_out)


def _problem(key: str) -> bool:
    """Whether lines that differ in a key have other images, or scores of another meaning."""
    return key.startswith(("physics", "data", "metrics", "test_set"))


def direction(entry: Entry, name: str) -> bool | None:
    """Whether a metric of a run is better where it is higher; None where that is not known."""
    return higher_is_better(name, entry.get(f"metrics.extra.{name}._target_"))


def _titles(entries: Sequence[Entry], rows: Mapping[Path, list[Row]], key: str) -> dict[Path, str]:
    """The table of each run: its condition, its test images, and in what others of these differ."""
    heads, facts = {}, {}
    for path, entry in ((one.path, one) for one in entries):
        first, kept = rows[path][0], meaning(entry, "test_set", (key,))
        heads[path] = f"{first.tested_on} ({first.noise}), test images {kept.pop('test_set', None)}"
        facts[path] = kept | {k: v for k, v in physics_of(entry).items() if not is_axis(k, (key,))}
    found = {}
    for path, head in heads.items():
        others = [facts[other] for other, same in heads.items() if same == head]
        every = sorted({k for one in others for k in one})
        varying = [k for k in every if len({one.get(k) for one in others}) > 1]
        found[path] = ", ".join([head, *(f"{k}={facts[path].get(k)}" for k in varying)])
    return found


def _column(
    lines: Sequence[Sequence[Entry]], name: str, rows: Mapping[Path, list[Row]], *, compared: bool
) -> tuple[list[Interval], list[str]]:
    """A metric or a cost of each line, and the images that not every run is defined for.

    A run that is defined for none excludes none.
    """
    if name in COSTS:
        return [_cost(line, name) for line in lines], []
    own = [
        [
            {r.image: r.value for r in rows[e.path] if r.metric == name and not isnan(r.value)}
            for e in line
        ]
        for line in lines
    ]
    every, lost, means = [one for line in own for one in line if one], dict[str, None](), []
    for line in own:
        some = [one for one in line if one]
        among = every if compared else some
        images = [i for i in (among[0] if some else ()) if all(i in one for one in among)]
        kept = set(images)
        lost |= dict.fromkeys(i for one in some for i in one if compared and i not in kept)
        means.append(bootstrap([fmean(one[i] for one in some) for i in images]))
    return means, list(lost)


def _cost(entries: Sequence[Entry], name: str) -> Interval:
    found = [files.optional(e.path / COST).get(name) for e in entries]
    numbers = [float(x) for x in found if x is not None]
    return Interval(fmean(numbers) if numbers else nan, nan, nan, 0)


def _best(column: Sequence[Interval], higher: bool | None) -> int | None:
    """The line of the best mean; None for a single one, and for what has no direction."""
    found = [one.mean for one in column if isfinite(one.mean)]
    if higher is None or len(set(found)) < 2:
        return None
    return [one.mean for one in column].index((max if higher else min)(found))


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
    flag = any(block.stopped)
    every = [
        [label, name, *map(repr, value), *[count][:flag]]
        for (label, *_), values, count in zip(lines, block.values, block.stopped, strict=True)
        for name, value in zip(names, values, strict=True)
    ]
    head = [key, "value", "mean", "low", "high", "images", *["not converged"][:flag]]
    return records.csv_lines([head, *every], "\n")


def pairs(one: Entry, other: Entry) -> Iterator[tuple[str, ...]]:
    """A line for each condition and metric that two runs share: both, difference, interval, p.

    Raises:
        ConfigError: their figures do not compare.
    """
    ours, theirs = (meaning(entry, "test_set", ()) for entry in (one, other))
    for key in sorted({*ours, *theirs}, key="test_set".__ne__):
        if ours.get(key) != theirs.get(key):
            raise ConfigError(
                f"no images are compared: {key} is {ours.get(key)} and {theirs.get(key)}."
            )
    first, second = (_conditions(entry) for entry in (one, other))
    for place, values in first.items():
        if (own := second.get(place)) is None or _tested(one, place) != _tested(other, place):
            continue
        if (made := paired(values, own)) is None:
            continue
        d = made.difference
        text = justified(d) if d.known else f"{d.mean:+.3g}"
        chance = f"{made.p:.2g}" if isfinite(made.p) else "–"
        ends = made.ends[:: 1 if direction(one, place[2]) else -1]
        extreme = [f"{name} {value:+.3g}" for name, value in ends]
        common = [i for i in values if isfinite(values[i]) and isfinite(own.get(i, nan))]
        means = [rounded(fmean(x[i] for i in common)) for x in (values, own)]
        yield (f"{place[0]} ({place[1]}), {place[2]}", *means, text, chance, *extreme)


def _conditions(entry: Entry) -> dict[tuple[str, str, str], dict[str, float]]:
    """The values of its network by image, for each operator, noise and metric."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for r in rows_of_run(entry):
        if r.method == "ours":
            found.setdefault((r.tested_on, r.noise, r.metric), {})[r.image] = r.value
    return found


def _tested(entry: Entry, place: tuple[str, str, str]) -> dict[str, str]:
    """The forward model of a condition: of an operator of the evaluation, else trained on."""
    named = f"evaluation.operators.{place[0]}."
    # At a level, or its own noise; of the model trained on the level has a name before it.
    at_level = place[1] == "its own" or re.fullmatch(r"[\d.e+-]+", place[1])
    return (at_level and physics_of(entry, named)) or physics_of(entry)


def physics_of(entry: Entry, named: str = "physics.") -> dict[str, str]:
    """The forward model and the noise of the training, or the part of the configuration named."""
    return {k: str(v) for k, v in flat(entry.config).items() if k.startswith(named)}
