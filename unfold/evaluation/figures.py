"""Figures for papers: PDF, and PNG of 300 dpi, in the style of `paper.mplstyle`."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from torch import Tensor

from unfold.disk import write_bytes
from unfold.errors import visible
from unfold.evaluation.records import Matrix
from unfold.evaluation.shown import ERROR_SCALE, VIEWS, Views, coarser, named
from unfold.evaluation.single_image import Points, Trace

matplotlib.use("Agg")

STYLE = Path(__file__).with_name("paper.mplstyle")

styled = plt.style.context(STYLE)
"""Decorates what draws; the style of a notebook stays as it is."""

LOSS = "train/loss"
VALIDATION = "validation/"

UNITS = {"psnr": "PSNR / dB", "ssim": "SSIM", "nmse": "NMSE"}
"""The label of a metric's axis; of others their name."""


@styled
def convergence_figure(traces: Sequence[Trace], path: Path, tolerance: float | None = None) -> None:
    """The PSNR of every iterate, where they were kept, and the residual of every step."""
    save(draw_convergence(traces, tolerance), path)


def draw_convergence(traces: Sequence[Trace], tolerance: float | None = None) -> Any:
    """The figure of `convergence_figure`."""
    panels = [(UNITS["psnr"], [t.psnr for t in traces])] if traces[0].psnr else []
    positive = [[(k, v) for k, v in t.residual if v > 0] or t.residual for t in traces]
    panels.append((traces[0].measure, positive))
    figure, axes = _panels(len(panels))
    for axis, (label, lines) in zip(axes, panels, strict=True):
        for trace, points in zip(traces, lines, strict=True):
            _plot(axis, points, ", ".join(filter(None, (trace.name, trace.mark))))
        axis.set(ylabel=label, xlabel="iteration k", xlim=(0, None))
    _logarithmic(axes[-1], [v for t in traces for _, v in t.residual] + [tolerance or 0.0])
    if tolerance is not None:
        axes[-1].axhline(tolerance, color="0.4", linestyle="--", label=f"tolerance {tolerance:g}")
        axes[-1].legend()
    axes[0].legend()
    return figure


@styled
def training_figure(curves: Path, metric: str, path: Path) -> None:
    """The training loss and a metric of the validation images, against the steps; if there are any.

    `curves` is `metrics.csv` of a run.
    """
    if any(name == LOSS for name in columns_of(curves)):
        save(draw_training({"": columns_of(curves)}, metric), path)


def draw_training(runs: Mapping[str, Mapping[str, Points]], metric: str) -> Any:
    """The figure of `training_figure` for the curves of several runs, by name."""
    found = [n for n in (LOSS, f"{VALIDATION}{metric}") if any(n in run for run in runs.values())]
    figure, axes = _panels(len(found))
    for axis, name in zip(axes, found, strict=True):
        for run, curves in runs.items():
            if name in curves:
                _plot(axis, curves[name], run)
        label = UNITS.get(metric, metric)
        axis.set_ylabel("training loss" if name == LOSS else f"validation {label}")
        axis.set(xlabel="training step", xlim=(0, None))
    losses = [v for run in runs.values() for _, v in run.get(LOSS, ())]
    if all(v > 0 for v in losses):
        _logarithmic(axes[0], losses)
    if any(runs):
        shown = axes[-1].get_legend_handles_labels()
        figure.legend(*shown, loc="outside lower center", ncols=2)
    return figure


def _logarithmic(axis: Any, values: Sequence[float]) -> None:
    """A log scale where values are positive; of a factor of four where they differ by rounding."""
    positive = [v for v in values if 0 < v < math.inf]
    if positive and max(positive) < (1 + 1e-6) * min(positive):
        axis.set_ylim(min(positive) / 2, max(positive) * 2)
    if positive:
        axis.set_yscale("log")


def _panels(count: int) -> tuple[Any, Sequence[Any]]:
    figure, axes = _row(count, (3.5, 2.4))
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure, axes


def _row(count: int, size: tuple[float, float], **options: Any) -> tuple[Any, Sequence[Any]]:
    """Axes side by side, each of this size in inches."""
    figsize = (size[0] * count, size[1])
    figure, axes = plt.subplots(1, count, figsize=figsize, squeeze=False, **options)
    return figure, list(axes[0])


def _plot(axis: Any, points: Points, label: str) -> None:
    steps, values = zip(*points, strict=True)
    axis.plot(steps, values, marker="o" if len(points) <= 20 else "", label=plain(label))


def plain(text: str) -> str:
    """A name as matplotlib shows it: never a formula, on one line."""
    return visible(text).replace("$", r"\$")


def columns_of(curves: Path) -> dict[str, Points]:
    """The columns of `metrics.csv`, in the order of the steps; without cells that have no value."""
    found: dict[str, Points] = {}
    if curves.is_file():
        with curves.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name not in (None, "step"):
                        found.setdefault(name, []).append((int(row["step"]), float(value)))
    return found


PANEL, WINDOW, ENLARGED = 1.36, 0.18, 0.42
"""Inches of a panel; the shares of its side of what is enlarged, and of the inset."""


@styled
def gallery(examples: Sequence[Views], path: Path) -> None:
    """A row for each example: truth, measurement, baseline, ours, the error of ours.

    The truth of several rows is shown once; each picture has a part of it enlarged in a corner.
    """
    known = [n for n in VIEWS if any(n in one.pictures for one in examples)]
    size = (PANEL * len(known) + 0.5, (PANEL + 0.2) * len(examples) + 0.2)
    figure, axes = plt.subplots(len(examples), len(known), figsize=size, squeeze=False)
    shown, bar = list[str](), None
    for line, one in zip(axes, examples, strict=True):
        again = one.name in shown
        shown.append(one.name)
        for axis, name in zip(line, known, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            if name not in one.pictures or (name == "truth" and again):
                axis.spines[:].set_visible(False)
                continue
            array, colours = one.pictures[name] / 255, "magma" if name == "error" else "gray"
            drawn = axis.imshow(array, cmap=colours, vmin=0, vmax=1)
            axis.spines[:].set_visible(False)
            axis.set_xlabel(plain(one.name if name == "truth" else one.lines.get(name, "")))
            bar = drawn if name == "error" else bar
            like = one.pictures.get("truth", one.pictures["ours"])
            placed = name != "error" and (name != "measurement" or one.placed)
            if placed and min(like.shape[:2]) >= 64:
                _enlarge(axis, array, like)
        noise = f"σ = {one.noise}" if one.noise[:1].isdigit() else one.noise
        line[0].set_ylabel(f"{plain(one.condition)}\n{plain(noise)}")
    for axis, name in zip(axes[0], known, strict=True):
        methods = dict.fromkeys(one.method for one in examples if name in one.pictures)
        axis.set_title(plain(", ".join(methods)) if name == "baseline" else name)
    if bar is not None:
        scale = figure.colorbar(bar, ax=axes[:, -1], shrink=min(1.0, 2 / len(examples)))
        scale.set_ticks([0, 1], labels=["0", f"≥ {ERROR_SCALE}"])
    save(figure, path)


def _enlarge(axis: Any, array: Any, like: Any) -> None:
    """An inset of the window with the most detail of `like`, from a coarse grid.

    The picture may be coarser than `like`, or lack some of its border.
    """
    gray = like.astype(float).reshape(*like.shape[:2], -1).mean(-1)
    detail = sum(map(abs, np.gradient(gray)))
    side = max(8, round(WINDOW * min(gray.shape)))
    starts = [range(side // 2, n - side - side // 2, max(1, side // 2)) for n in gray.shape]
    places = [(top, left) for top in starts[0] for left in starts[1]]
    top, left = max(places, key=lambda at: detail[at[0] :, at[1] :][:side, :side].sum())
    far = top + side / 2 < gray.shape[0] / 2  # the inset is in the other half
    factor = coarser(array, like)
    cut = [(n - factor * m) / 2 for n, m in zip(like.shape, array.shape, strict=False)]
    side = round(side / factor)
    top, left = (
        min(max(0, round((start - c) / factor)), size - side)
        for start, c, size in zip((top, left), cut, array.shape, strict=False)
    )
    inset = axis.inset_axes((1 - ENLARGED, 0.0 if far else 1 - ENLARGED, ENLARGED, ENLARGED))
    inset.imshow(array[top : top + side, left : left + side], cmap="gray", vmin=0, vmax=1)
    inset.set(xticks=[], yticks=[])
    inset.grid(visible=False)
    inset.spines[:].set(visible=True, color="#D55E00", linewidth=0.8)
    box = Rectangle((left - 0.5, top - 0.5), side, side, fill=False, ec="#D55E00", lw=0.8)
    axis.add_patch(box)


@styled
def parameters_figure(parameters: Mapping[str, Tensor], path: Path) -> None:
    """Every scalar of each iteration; a tied one is a number."""
    arrays = {n: v.detach().cpu().double().numpy().reshape(-1) for n, v in parameters.items()}
    save(draw_parameters({name: array.tolist() for name, array in arrays.items()}), path)


def draw_parameters(parameters: Mapping[str, Sequence[float]]) -> Any:
    """The figure of `parameters_figure`."""
    several = {name: values for name, values in parameters.items() if len(values) > 1}
    single = {name: values[0] for name, values in parameters.items() if len(values) == 1}
    height = 2.0 if several else 0.4 + 0.15 * len(single)
    figure, axes = _row(len(several) + bool(single) or 1, (2.3, height))
    for axis, (name, values) in zip(axes, several.items(), strict=False):
        axis.plot(range(len(values)), values, marker="o")
        axis.set(title=plain(name), xlabel="iteration k")
        axis.xaxis.get_major_locator().set_params(integer=True)
    if single or not several:
        lines = "\n".join(f"{plain(name)} = {value:.4g}" for name, value in single.items())
        axes[-1].set_axis_off()
        axes[-1].text(0, 0.5, lines or "no parameters", va="center", transform=axes[-1].transAxes)
        axes[-1].set_title("of all iterations" if single else "", loc="left")
    return figure


@styled
def conditions_figure(curves: Sequence[tuple[str, str, Tensor, Tensor]], path: Path) -> None:
    """Parameters that depend on the problem over each of their features, a line per iteration."""
    if not curves:
        return
    figure, axes = _row(len(curves), (2.3, 2.0))
    for axis, (name, feature, at, values) in zip(axes, curves, strict=True):
        lines = values.detach().cpu().reshape(len(at), -1).T
        for k, line in enumerate(lines):
            colour = plt.get_cmap("viridis")(k / max(1, len(lines) - 1))
            axis.semilogx(at.detach().cpu(), line, color=colour, label=f"k = {k}")
        _logarithmic(axis, lines.flatten().tolist())
        axis.set(title=name, xlabel=feature)
    if values.ndim > 1:
        axes[0].legend()
    save(figure, path)


DRAWN = {"wiener": "^", "cg_sense": "v", "tv": "s", "ours": "o"}
"""The methods of `operators_figure`, with their markers."""


@styled
def operators_figure(methods: Matrix, path: Path) -> None:
    """The metric by condition, a point for each tuned baseline and one for ours."""
    kept = [c for c in DRAWN if c in methods.columns]
    positions = np.arange(len(methods.lines))
    figure, axis = plt.subplots(figsize=(5, 0.24 * len(positions) + 1.1))
    for method in kept:
        values = [cells[methods.columns.index(method)] for cells in methods.cells]
        label = named(method)
        axis.plot(values, positions, DRAWN[method], label=label, markersize=4)
    axis.set_yticks(positions, list(map(plain, methods.lines)))
    axis.invert_yaxis()
    axis.set_xlabel(methods.corner.replace(" in ", " / ").replace("psnr", "PSNR"))
    axis.legend(loc="best")
    figure.supxlabel("\n".join(fill(plain(note), 100) for note in methods.notes), fontsize=6)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG and as PDF next to it, and close it."""
    for kind in ("png", "pdf"):
        content = io.BytesIO()
        # Without the date, the same figures are the same bytes.
        undated = {"CreationDate": None} if kind == "pdf" else {}
        figure.savefig(content, format=kind, metadata=undated)
        write_bytes(path.with_suffix(f".{kind}"), content.getvalue())
    plt.close(figure)


@styled
def budget_figure(points: Sequence[tuple[str, float, Any]], path: Path) -> None:
    """The PSNR of each mode, with its interval where known, and its calls of the operator."""
    figure, (axis,) = _row(1, (5.2, 0.9 + 0.35 * len(points)))
    for at, (_, _, found) in enumerate(points):
        ends = np.array([[found.mean - found.low], [found.high - found.mean]])
        axis.errorbar([found.mean], [at], xerr=ends if found.known else None, fmt="ko", capsize=3)
    names = [f"{name}, {calls:.0f} operator calls" for name, calls, _ in points]
    axis.set_yticks(range(len(points)), names)
    axis.margins(y=0.15)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("PSNR / dB")
    save(figure, path)
