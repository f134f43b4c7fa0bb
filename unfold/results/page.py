"""The report: what runs are, what they scored, how they compare, and what failed, as one page.

A run directory is hostile input: its files are bounded, every text is escaped by the template, and
a picture is encoded anew from an array.
"""

import base64
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib import pyplot as plt
from PIL import Image as PillowImage

from unfold.errors import RunError, UnfoldError
from unfold.evaluation import figures
from unfold.evaluation.metrics import HIGHER_IS_BETTER
from unfold.evaluation.records import Row, common, read_rows, rounded
from unfold.evaluation.report import headline, label
from unfold.evaluation.shown import ERROR_SCALE, NUMBERS, VIEWS, Views, read_pictures
from unfold.evaluation.single_image import Points, Trace
from unfold.results.templates import rendered
from unfold.runs import files
from unfold.runs.catalogue import Entry, flat
from unfold.runs.identity import LEFT_OUT
from unfold.runs.seal import ROWS

PICTURE_BYTES = 3_300_000
"""Of all pictures of a page, as text: with the rest, a page stays below 5 MB."""

CURVES, POINTS = 8, 400
"""Runs in one figure of training curves; points of each curve."""

MOST = 2**24
"""Bytes of a file that is read: a hundred times what an evaluation writes."""

REDRAWN = 2000
"""Samples of a bootstrap."""


@dataclass
class Section:
    """What is shown of one run; empty where there is nothing, or it could not be read.

    Args:
        entry: the run.
        origin: its provenance.
        rows: of its evaluation.
        numbers: of its figures, `shown.json`.
        curves: of its training.
        parameters: each value of an iteration, or the one of all.
        charts: data URIs of SVG files, by what they show.
        examples: a dictionary for each figure with a slider.
        notes: what could not be read, with the reason.
    """

    entry: Entry
    origin: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Points] = field(default_factory=dict)
    parameters: Mapping[str, Sequence[float]] = field(default_factory=dict)
    charts: dict[str, str] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()
    notes: list[str] = field(default_factory=list)

    def read(self, what: str, reader: Callable[[], Any], default: Any) -> Any:
        """What a reader returns; the default, and a note, where it fails."""
        try:
            return reader()
        except (UnfoldError, OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            self.notes.append(f"{what}: {error}")
            return default


def page(entries: Sequence[Entry], lost: Sequence[str] = ()) -> str:
    """The report of runs as HTML that needs no other file; `lost` are those without a directory."""
    sections = [_section(entry) for entry in entries]
    with plt.style.context(figures.STYLE):
        for one in sections:
            _draw(one)
        curves = {s.entry.name: s.curves for s in sections if s.curves}
        metric = next((headline(s.rows) for s in sections if s.rows), "psnr")
        training = ""
        if any(figures.LOSS in found for found in curves.values()):
            first = dict(list(curves.items())[:CURVES])
            training = _svg(figures.draw_training(first, metric))
    for one in sections:
        one.examples = _pictures(one, PICTURE_BYTES // len(sections))
    settings, inner = _differing(entries)
    script = Path(__file__).with_name("report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return rendered(
        "report.html",
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode(),
        error_scale=ERROR_SCALE,
        sections=sections,
        failed=[s for s in sections if s.entry.state != "finished" or s.notes],
        groups=_groups(sections),
        lost=lost,
        settings=settings,
        inner=inner,
        training=training,
        more=max(0, len(curves) - CURVES),
        equilibria=_equilibria(sections),
        color_bar=_png(np.tile(np.arange(256, dtype=np.uint8), (8, 1)), "magma"),
    )


def _section(entry: Entry) -> Section:
    found, run = Section(entry), entry.path
    if entry.state == "damaged" or entry.state.startswith("schema"):
        return found
    found.origin = found.read("provenance", lambda: files.origin_of(run), {})
    found.rows = found.read("evaluation", lambda: _of(run / ROWS, read_rows), ())
    numbers = (run / ROWS).with_name(NUMBERS)
    found.numbers = found.read("figures", lambda: _of(numbers, files.read_json), {})
    found.curves = found.read("training curves", lambda: _of(run / "metrics.csv", _thinned), {})
    return found


def _of(path: Path, reader: Callable[[Path], Any]) -> Any:
    """What a file of a bounded size holds; nothing where there is none."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MOST:
        raise RunError(f"{path} has {path.stat().st_size} bytes, of at most {MOST}")
    return reader(path)


def _thinned(path: Path) -> dict[str, Points]:
    found = figures.columns_of(path)
    return {n: points[:: math.ceil(len(points) / POINTS)] for n, points in found.items()}


def _draw(one: Section) -> None:
    """The figures of one run, of the numbers that its evaluation kept."""
    numbers = one.numbers

    def convergence() -> str:
        traces = [Trace(**t)._replace(name=str(t["name"])) for t in numbers["traces"][:8]]
        for t in traces:
            if not all(len(p) == 2 and all(map(math.isfinite, p)) for p in (*t.psnr, *t.residual)):
                raise ValueError("points are pairs of numbers")
        tolerance = numbers["tolerance"]
        return _svg(figures.draw_convergence(traces, tolerance and float(tolerance)))

    def parameters() -> str:
        several = {name: values for name, values in one.parameters.items() if len(values) > 1}
        return _svg(figures.draw_parameters(several)) if several else ""

    if numbers.get("traces"):
        one.charts["convergence"] = one.read("convergence", convergence, "")
    one.parameters = one.read("parameters", lambda: _floats(numbers.get("parameters", {})), {})
    one.charts["parameters"] = one.read("parameters", parameters, "")


def _floats(values: Any) -> dict[str, list[float]]:
    return {str(name): [float(v) for v in one] for name, one in dict(values).items()}


def _svg(figure: Any) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}"


def _png(array: np.ndarray, colours: str = "") -> str:
    """A picture as a data URI; one value a pixel, and a palette, where it has colours."""
    picture = PillowImage.fromarray(array)
    if colours:
        palette = colormaps[colours](np.arange(256), bytes=True)[:, :3]
        picture.putpalette(palette.tobytes())
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _pictures(one: Section, room: int) -> list[dict[str, Any]]:
    """The examples of a run, as many as there is room for."""
    stored = one.numbers.get("examples", ())
    folder = (one.entry.path / ROWS).parent
    found: Sequence[Views] = one.read("pictures", lambda: read_pictures(folder, stored), ())
    shown: list[dict[str, Any]] = []
    for view in found:
        encoded = {n: _png(a, "magma" if n == "error" else "") for n, a in view.pictures.items()}
        room -= sum(map(len, encoded.values()))
        if room < 0:
            one.notes.append(f"{len(found) - len(shown)} of {len(found)} pictures do not fit here")
            break
        height, width = view.pictures["ours"].shape[:2]
        pairs = [(n, encoded[n], view.lines.get(n, "")) for n in VIEWS if n in encoded]
        shown.append({"view": view, "pictures": pairs, "ratio": f"{width} / {height}"})
    return shown


Settings = list[tuple[str, list[str]]]
"""A key, and its value in each run."""


def _differing(entries: Sequence[Entry]) -> tuple[Settings, Settings]:
    """The keys of the configuration in which the runs differ: those of all, and of some of them."""
    made = [{**flat(e.config), **e.sets} if e.config else {} for e in entries]
    keys = sorted({k for values in made for k in values if k and k not in LEFT_OUT})
    known = [values for values in made if values]
    shared: Settings = []
    inner: Settings = []
    for key in keys:
        if len({str(values.get(key)) for values in known}) > 1:
            short = [str(v.get(key, "-")).removeprefix("unfold.") for v in made]
            (shared if all(key in values for values in known) else inner).append((key, short))
    return shared, inner


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


def _groups(sections: Sequence[Section]) -> list[Group]:
    sorted_: dict[tuple[tuple[str, str], ...], list[Section]] = {}
    for one in (s for s in sections if s.rows):
        config = flat(one.entry.config)
        keys = [k for k in sorted(config) if k.startswith("metrics.") or k == "data.channels"]
        images = ("test images", one.entry.sets.get("test_set", "unknown"))
        settings = [(key, str(config[key])) for key in keys]
        sorted_.setdefault((images, ("metric", headline(one.rows)), *settings), []).append(one)
    shared = set.intersection(*map(set, sorted_)) if len(sorted_) > 1 else set()
    titles = ([f"{k} {v}" for k, v in key if (k, v) not in shared] for key in sorted_)
    several = len(sorted_) > 1
    return [
        _group(", ".join(title) if several else title[0], found)
        for title, found in zip(titles, sorted_.values(), strict=True)
    ]


def _group(title: str, sections: Sequence[Section]) -> Group:
    metric = headline(sections[0].rows)
    tables = [_scores(one.rows, metric) for one in sections]
    first = _first(sections[0].rows, metric)
    table = []
    for one in sections:
        own = _first(one.rows, metric)
        gain = ""
        if one is not sections[0]:
            both = [own[name] - first[name] for name in own if name in first]
            gain = f"{fmean(both):+.2f} {interval(both)}".rstrip("– ") if both else "-"
        values = list(own.values())
        mean = rounded(fmean(values)) if values else "-"
        table.append((one.entry.name, mean, interval(values), len(values), gain))
    lines = [(one.entry.name, scores) for one, scores in zip(sections, tables, strict=True)]
    conditions = list(dict.fromkeys(c for scores in tables for c in scores))
    baselines = [_scores(one.rows, metric, "tv") for one in sections]
    tv = {c: v for scores in reversed(baselines) for c, v in scores.items()}
    lines = [("total variation", tv), *lines] if tv else lines
    known = [v for _, scores in lines for v in scores.values() if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    sign = HIGHER_IS_BETTER.get(metric, True)

    def cell(value: float) -> tuple[str, float | None]:
        if not math.isfinite(value):
            return "", None
        share = (value - low) / (high - low or 1)
        return rounded(value), share if sign else 1 - share

    heat = [(c, [cell(scores.get(c, math.nan)) for _, scores in lines]) for c in conditions]
    return Group(title, metric, table, [name for name, _ in lines], heat)


def _scores(rows: Sequence[Row], metric: str, method: str = "ours") -> dict[str, float]:
    """The mean of each condition; that of the training has the name of all runs."""
    found: dict[str, list[float]] = {}
    for row in common(rows)[0]:
        if row.metric == metric and row.method == method:
            found.setdefault(label(row), []).append(row.value)
    return {name: fmean(values) for name, values in found.items()}


def _first(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """The metric of ours on each image, of the operator trained on."""
    place = label(rows[0])
    own = [r for r in rows if r.method == "ours" and r.metric == metric and label(r) == place]
    return {r.image: r.value for r in own if math.isfinite(r.value)}


def interval(values: Sequence[float]) -> str:
    """The percentile bootstrap interval of the mean, of 95 %; a dash below 5 values."""
    if len(values) < 5:
        return "–"
    draws = np.random.default_rng(0).integers(0, len(values), (REDRAWN, len(values)))
    low, high = np.quantile(np.asarray(values)[draws].mean(1), (0.025, 0.975))
    return f"[{low:.2f}, {high:.2f}]"


WATCHED = {
    "iterations": "train/iterations",
    "residual": "train/residual",
    "share converged": "train/converged",
    "backward iterations": "train/backward_iterations",
    "backward residual": "train/backward_residual",
}


def _equilibria(sections: Sequence[Section]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of each equilibrium: the last values of its training, and the iterations of the test."""
    found = []
    for one in sections:
        values = {n: one.curves[c][-1][1] for n, c in WATCHED.items() if c in one.curves}
        if not values:
            continue
        lines = [(name, f"{value:.4g}") for name, value in values.items()]
        own = [r for r in one.rows if r.method == "ours" and r.metric == headline(one.rows)]
        if own:
            counts, ended = [r.iterations for r in own], sum(r.converged == "False" for r in own)
            lines += [
                ("test iterations", f"{fmean(counts):.1f}, at most {max(counts)}"),
                ("test images not converged", f"{ended} of {len(own)}"),
            ]
        found.append((one.entry.name, lines))
    return found
