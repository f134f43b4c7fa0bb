"""The scores of runs side by side: means with intervals, differences, and every condition."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from unfold.evaluation.records import Row, common, mean, rounded
from unfold.evaluation.report import headline, label
from unfold.evaluation.statistics import Interval, bootstrap, paired
from unfold.runs.catalogue import Entry
from unfold.runs.results import direction, of_training, physics_of
from unfold.runs.table import apart, meaning

Run = tuple[Entry, Sequence[Row]]
"""A run, and the rows of its evaluation; none where it has none."""


class Group(NamedTuple):
    """Runs whose scores compare: the same test images, range, channels and metrics.

    title: what they have in common.
    metric: of the tables.
    table: each run, its mean, the interval, the images, and the difference to the first run.
    columns: total variation and the runs.
    heat: each condition with a cell for each column: its text, and its share of the range.
    """

    title: str
    metric: str
    table: Sequence[tuple[str, str, str, int, str]]
    columns: Sequence[str]
    heat: Sequence[tuple[str, Sequence[tuple[str, float | None]]]]


def groups(runs: Sequence[Run]) -> list[Group]:
    """The runs that have scores; those that compare are together."""

    def facts(run: Run) -> list[tuple[str, str]]:
        kept = meaning(run[0], "test_set", ())
        images = kept.pop("test_set", "unknown")
        return [("test images", images), ("metric", headline(run[1])), *kept.items()]

    found = apart((run for run in runs if run[1]), facts)
    return [_group(title or " ".join(facts(own[0])[0]), own) for title, own in found]


def _group(title: str, runs: Sequence[Run]) -> Group:
    first, rows = runs[0]
    metric = headline(rows)
    table = []
    for entry, own in runs:
        found, gain = bootstrap(list(_first(own, metric).values())), ""
        if entry is not first:
            same = physics_of(entry) == physics_of(first)
            both = paired(_first(rows, metric), _first(own, metric)) if same else None
            gain = f"{both.difference.mean:+.2f} {_ends(both.difference)}" if both else "-"
        table.append(
            (entry.name, rounded(found.mean) or "-", _ends(found), found.images, gain.rstrip("– "))
        )
    tables = [_scores(own, metric) for _, own in runs]
    lines = [(entry.name, scores) for (entry, _), scores in zip(runs, tables, strict=True)]
    conditions = list(dict.fromkeys(c for scores in tables for c in scores))
    baselines = [_scores(own, metric, "tv") for _, own in runs]
    tv = {c: v for scores in reversed(baselines) for c, v in scores.items()}
    lines = [("total variation", tv), *lines] if tv else lines
    known = [v for _, scores in lines for v in scores.values() if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    sign = direction(first, metric) is not False

    def cell(value: float) -> tuple[str, float | None]:
        if not math.isfinite(value):
            return "", None
        share = (value - low) / (high - low or 1)
        return rounded(value), share if sign else 1 - share

    heat = [(c, [cell(scores.get(c, math.nan)) for _, scores in lines]) for c in conditions]
    return Group(title, metric, table, [name for name, _ in lines], heat)


def _scores(rows: Sequence[Row], metric: str, method: str = "ours") -> dict[str, float]:
    """The mean of each condition; that of the training has the name of all runs."""
    own = [r for r in common(rows)[0] if r.metric == metric and r.method == method]
    return {
        c: mean([r for r in own if label(r) == c], metric) for c in dict.fromkeys(map(label, own))
    }


def _first(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """The metric of ours on each image, of the operator trained on."""
    own = [r for r in of_training(rows) if r.metric == metric]
    return {r.image: r.value for r in own if math.isfinite(r.value)}


def _ends(found: Interval) -> str:
    return f"[{found.low:.2f}, {found.high:.2f}]" if found.known else "–"
