"""The report: what runs are, what they scored, how they compare, and what failed, as one page.

A run directory is hostile input: its files are bounded, every text is escaped by the template, and
a picture is encoded anew from an array.
"""

import base64
import hashlib
import io
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib import pyplot as plt
from PIL import Image as PillowImage

from unfold.errors import RunError, visible
from unfold.evaluation import figures
from unfold.evaluation.records import Row, read_rows
from unfold.evaluation.report import headline
from unfold.evaluation.shown import ERROR_SCALE, LETTERS, MOST, NUMBERS, VIEWS, Views, read_pictures
from unfold.evaluation.single_image import Points, Trace
from unfold.results.scores import groups
from unfold.results.templates import rendered
from unfold.runs import files
from unfold.runs.catalogue import Entry, flat
from unfold.runs.compare import legible
from unfold.runs.identity import LEFT_OUT
from unfold.runs.seal import ROWS

PICTURE_BYTES = 3_300_000
"""Of all pictures of a page, as text: with the rest, a page stays below 5 MB."""

CURVES, POINTS, PANELS = 8, 400, 24
"""Runs in one figure of training curves; points of a curve; parameters of a run."""


@dataclass
class Section:
    """What is shown of one run; empty where there is nothing, or it could not be read.

    Args:
        entry: the run.
        origin: its provenance.
        command: what repeats it, as a shell reads it.
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
    command: str = ""
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
        except Exception as error:  # a stranger's file fails in whatever way it likes
            self.notes.append(f"{what}: {visible(str(error))}")
            return default


def page(entries: Sequence[Entry], lost: Sequence[str] = ()) -> str:
    """The report of runs as HTML that needs no other file; `lost` are those without a directory."""
    try:
        return _page([_section(entry) for entry in entries], lost)
    except Exception:  # a run that makes no page by itself is named, and the others are shown
        return _page([_checked(entry) for entry in entries], lost)


def _checked(entry: Entry) -> Section:
    try:
        _page([_section(entry)], ())
    except Exception as error:
        reason = f"cannot be shown, {type(error).__name__}: {visible(str(error))}"
        entry = Entry(entry.path, entry.name, "damaged", replace(entry.status, reason=reason))
    return _section(entry)


def _page(sections: Sequence[Section], lost: Sequence[str]) -> str:
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
        pictures = partial(_pictures, one, PICTURE_BYTES // len(sections))
        one.examples = one.read("pictures", pictures, ())
    settings, inner = _differing([one.entry for one in sections])
    script = Path(__file__).with_name("report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return rendered(
        "report.html",
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode(),
        error_scale=ERROR_SCALE,
        sections=sections,
        failed=[s for s in sections if s.entry.state != "finished" or s.notes],
        groups=groups([(one.entry, one.rows) for one in sections]),
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
    found.command = found.read("command", lambda: _command(run, found.origin), "")
    found.rows = found.read("evaluation", lambda: _of(run / ROWS, read_rows), ())
    numbers = (run / ROWS).with_name(NUMBERS)
    found.numbers = found.read("figures", lambda: _of(numbers, files.read_json), {})
    found.curves = found.read("training curves", lambda: _of(run / "metrics.csv", _thinned), {})
    return found


def _command(run: Path, origin: Mapping[str, Any]) -> str:
    typed = files.read_yaml(run / "overrides.yaml") if origin else []
    given = [*(f"--config-dir={folder}" for folder in origin.get("folders", ())), *typed]
    if not all(isinstance(text, str) and text.isprintable() for text in given):
        raise RunError(f"{run / 'overrides.yaml'} holds no text, or control characters")
    return shlex.join(["python", "train.py", *given]) if origin else ""


def _of(path: Path, reader: Callable[[Path], Any]) -> Any:
    """What a file of a bounded size holds; nothing where there is none."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MOST:
        raise RunError(f"{path} has {path.stat().st_size} bytes, of at most {MOST}")
    return reader(path)


def _thinned(path: Path) -> dict[str, Points]:
    found = figures.columns_of(path)
    return {name: _thin(points) for name, points in found.items()}


def _thin(points: Points) -> Points:
    return points[:: math.ceil(len(points) / POINTS) or 1]


def _cut(value: Any) -> Any:
    return value[:LETTERS] if isinstance(value, str) else _thin(value)


def _draw(one: Section) -> None:
    """The figures of one run, of the numbers that its evaluation kept."""
    numbers = one.numbers

    def convergence() -> str:
        traces = [Trace(**{k: _cut(v) for k, v in t.items()}) for t in numbers["traces"][:8]]
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
    if more := len(numbers.get("parameters", ())) - len(one.parameters):
        one.notes.append(f"{more} parameters are not shown")
    one.charts["parameters"] = one.read("parameters", parameters, "")


def _floats(values: Any) -> dict[str, list[float]]:
    kept = list(dict(values).items())[:PANELS]
    return {str(name)[:LETTERS]: [float(v) for v in one[:POINTS]] for name, one in kept}


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
    found: Sequence[Views] = read_pictures(folder, stored)
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
            short = [t.removeprefix("unfold.") for t in legible([v.get(key, "-") for v in made])]
            (shared if all(key in values for values in known) else inner).append((key, short))
    return shared, inner


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
