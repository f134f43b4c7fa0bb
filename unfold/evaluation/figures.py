"""Figures: galleries, learned parameters, operators."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from torch import Tensor

from unfold.disk import write_bytes
from unfold.evaluation.base import Shown
from unfold.evaluation.metrics import magnitude
from unfold.evaluation.records import MARKS, Matrix
from unfold.evaluation.single_image import Points, Trace

matplotlib.use("Agg")

LOSS = "train/loss"
VALIDATION = "validation/"


def convergence_figure(traces: Sequence[Trace], path: Path) -> None:
    """The PSNR of every iterate, where they were kept, and the residual of every step."""
    panels = [("PSNR in dB", [t.psnr for t in traces])] if traces[0].psnr else []
    panels.append((traces[0].measure, [t.residual for t in traces]))
    figure, axes = _panels(len(panels))
    for axis, (label, lines) in zip(axes, panels, strict=True):
        for trace, points in zip(traces, lines, strict=True):
            _plot(axis, points, ", ".join(filter(None, (trace.name, trace.mark))))
        axis.set_ylabel(label, fontsize=8)
        axis.set_xlabel("iteration", fontsize=8)
    if any(value > 0 for trace in traces for _, value in trace.residual):
        axes[-1].set_yscale("log")
    axes[0].legend(fontsize=7)
    save(figure, path)


def training_figure(curves: Path, metric: str, path: Path) -> None:
    """The training loss and a metric of the validation images, against the steps; if there are any.

    `curves` is `metrics.csv` of a run.
    """
    names = (LOSS, f"{VALIDATION}{metric}")
    found = {name: points for name in names if (points := _column(curves, name))}
    if LOSS not in found:
        return
    figure, axes = _panels(len(found))
    for axis, (name, points) in zip(axes, found.items(), strict=True):
        _plot(axis, points, name)
        axis.set_ylabel("validation PSNR in dB" if name == "validation/psnr" else name, fontsize=8)
        axis.set_xlabel("training step", fontsize=8)
    if all(value > 0 for _, value in found[LOSS]):
        axes[0].set_yscale("log")
    save(figure, path)


def _panels(count: int) -> tuple[Any, Sequence[Any]]:
    figure, axes = _row(count, (4.2, 2.8))
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure, axes


def _row(count: int, size: tuple[float, float], **options: Any) -> tuple[Any, Sequence[Any]]:
    """Axes side by side, each of this size in inches."""
    figsize = (size[0] * count, size[1])
    figure, axes = plt.subplots(1, count, figsize=figsize, squeeze=False, **options)
    for axis in axes[0]:
        axis.tick_params(labelsize=7, which="both")
    return figure, list(axes[0])


def _plot(axis: Any, points: Points, label: str) -> None:
    steps, values = zip(*points, strict=True)
    axis.plot(steps, values, marker="o" if len(points) <= 20 else "", markersize=3, label=label)


def _column(curves: Path, name: str) -> Points:
    """The values of a column, in the order of the steps; rows without a value are skipped."""
    if not curves.is_file():
        return []
    with curves.open(encoding="utf-8", newline="") as file:
        rows = [(row["step"], row.get(name)) for row in csv.DictReader(file)]
    return [(int(step), float(value)) for step, value in rows if value]


ERROR_SCALE = 0.2
"""The error shown as white, of an image in [0, 1]."""


def picture(image: Tensor) -> Any:
    """An image as an array that matplotlib shows: gray (H, W) or colour (H, W, 3), in [0, 1].

    Anything else, such as a complex measurement, is shown as one log-scaled magnitude.
    """
    array = image.detach().cpu().numpy()
    proper = array.ndim == 3 and array.shape[0] in (1, 3) and not np.iscomplexobj(array)
    if not proper or array.max(initial=0) > 2:  # projections, not noisy images
        return _magnitude(array)
    array = array.clip(0, 1)
    return array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)


def _magnitude(array: Any) -> Any:
    """One gray picture of any array: the log of the magnitude, summed over channels."""
    size = np.abs(array)
    if size.ndim == 2:
        size = size[None]
    if size.ndim != 3:
        side = int(np.ceil(np.sqrt(size.size)))
        size = np.pad(size.ravel(), (0, side * side - size.size)).reshape(1, side, side)
    size = np.sqrt((size**2).sum(0))
    bright = np.log1p(100 * size / (size.max() or 1.0))
    return bright / np.log1p(100)


def gallery(examples: Sequence[Shown], path: Path) -> None:
    """A row for each image: truth, measurement, total variation, ours, the error of ours."""
    heads = ("truth", "measurement", "total variation", "ours", f"error, white = {ERROR_SCALE}")
    size = (2.1 * len(heads), 2.45 * len(examples) + 0.3)
    figure, axes = plt.subplots(len(examples), len(heads), figsize=size, squeeze=False)
    for line, one in zip(axes, examples, strict=True):
        ours = magnitude(one.ours)
        truth = 0 * ours if one.truth is None else magnitude(one.truth)
        error = (ours - truth).abs().mean(0, keepdim=True) / ERROR_SCALE
        beside = 0 * ours if one.baseline is None else magnitude(one.baseline)
        images = (truth, one.measurement, beside, ours, error)
        for axis, image in zip(line, images, strict=True):
            axis.imshow(picture(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(f"{one.condition.name}\nnoise {one.condition.noise}", fontsize=8)
        line[0].set_xlabel(one.name if one.truth is not None else f"none: {one.name}", fontsize=8)
        line[1].set_xlabel("" if one.pictured else "its back-projection", fontsize=8)
        for axis, psnr, flag in zip(line[2:], one.psnr, one.flags, strict=False):
            mark = MARKS.get(flag, "").partition(":")[0]
            text = "" if np.isnan(psnr) else f"{psnr:.2f} dB"
            axis.set_xlabel(f"{text}\n{mark}".rstrip(), fontsize=8)
    for axis, head in zip(axes[0], heads, strict=True):
        axis.set_title(head, fontsize=9)
    save(figure, path)


def parameters_figure(parameters: Mapping[str, Tensor], path: Path) -> None:
    """Every scalar per iteration; a tied one is a level line."""
    figure, axes = _row(max(len(parameters), 1), (2.6, 2.2))
    longest = max((v.numel() for v in parameters.values()), default=1)
    for axis, (name, value) in zip(axes, parameters.items(), strict=False):
        values = value.detach().cpu().double().numpy().reshape(-1)
        line = np.full(max(longest, 2), values[0]) if values.size == 1 else values
        axis.plot(np.arange(1, line.size + 1), line, marker="o" if values.size > 1 else "")
        axis.set_title(f"{name}{'' if values.size > 1 else ' (tied)'}", fontsize=9)
        axis.set_xlabel("iteration", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def conditions_figure(curves: Sequence[tuple[str, str, Tensor, Tensor]], path: Path) -> None:
    """Parameters that depend on the problem over each of their features, a line per iteration."""
    if not curves:
        return
    figure, axes = _row(len(curves), (2.8, 2.4))
    for axis, (name, feature, at, values) in zip(axes, curves, strict=True):
        lines = values.detach().cpu().reshape(len(at), -1).T
        for k, line in enumerate(lines):
            colour = plt.get_cmap("viridis")(k / max(1, len(lines) - 1))
            axis.loglog(at.detach().cpu(), line, color=colour, label=f"k = {k}")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(feature, fontsize=8)
        axis.grid(alpha=0.3)
    if values.ndim > 1:
        axes[0].legend(fontsize=6)
    save(figure, path)


def operators_figure(methods: Matrix, path: Path) -> None:
    """PSNR by condition, a bar for total variation and one for ours."""
    kept = [c for c in ("tv", "ours") if c in methods.columns]
    positions = np.arange(len(methods.lines))
    figure, axis = plt.subplots(figsize=(0.75 * len(positions) + 2, 3))
    for i, method in enumerate(kept):
        values = [cells[methods.columns.index(method)] for cells in methods.cells]
        axis.bar(positions + 0.38 * i, values, 0.38, label=method)
    figures = [cells[methods.columns.index(m)] for cells in methods.cells for m in kept]
    axis.set_ylim(bottom=max(0.0, min(figures) - 3))
    axis.set_xticks(positions + 0.19, methods.lines, rotation=40, ha="right", fontsize=7)
    axis.set_ylabel("PSNR in dB", fontsize=8)
    axis.legend(fontsize=8)
    figure.supxlabel(
        "\n".join(fill(note, 16 * len(positions) + 40) for note in methods.notes), fontsize=6
    )
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG, and close it."""
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    plt.close(figure)
    write_bytes(path, picture.getvalue())


def budget_figure(points: Sequence[tuple[str, float, Any]], path: Path) -> None:
    """The PSNR of each mode, with its interval where known, and its calls of the operator."""
    figure, (axis,) = _row(1, (5.2, 0.9 + 0.35 * len(points)))
    for at, (_, _, found) in enumerate(points):
        ends = np.array([[found.mean - found.low], [found.high - found.mean]])
        axis.errorbar([found.mean], [at], xerr=ends if found.known else None, fmt="ko", capsize=3)
    names = [f"{name}, {calls:.0f} operator calls" for name, calls, _ in points]
    axis.set_yticks(range(len(points)), names, fontsize=8)
    axis.margins(y=0.15)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("PSNR / dB", fontsize=8)
    save(figure, path)
