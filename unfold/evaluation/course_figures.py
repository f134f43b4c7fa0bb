"""Figures of what happened step by step: trainings and reconstructions."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from unfold.evaluation.courses import Course, Points
from unfold.evaluation.figures import save

LOSS = "train/loss"
VALIDATION = "validation/"


def convergence_figure(courses: Sequence[Course], path: Path) -> None:
    """The PSNR of every iterate, where they were kept, and how far each step still moved."""
    panels = [("PSNR in dB", [c.psnr for c in courses])] if courses[0].psnr else []
    panels.append((courses[0].measure, [c.left for c in courses]))
    figure, axes = _panels(len(panels))
    for axis, (label, lines) in zip(axes, panels, strict=True):
        for course, points in zip(courses, lines, strict=True):
            _plot(axis, points, course.name)
        axis.set_ylabel(label, fontsize=8)
        axis.set_xlabel("iteration", fontsize=8)
    if any(value > 0 for course in courses for _, value in course.left):
        axes[-1].set_yscale("log")
    axes[0].legend(fontsize=7)
    save(figure, path)


def training_figure(curves: Path, metric: str, path: Path) -> None:
    """The training loss and a metric of the validation images, against the steps; if there are any.

    Args:
        curves: `metrics.csv` of a run.
        metric: by its name in tables.
        path: of the figure.
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
    figure, axes = plt.subplots(1, count, figsize=(4.2 * count, 2.8), squeeze=False)
    for axis in axes[0]:
        axis.tick_params(labelsize=7, which="both")
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure, list(axes[0])


def _plot(axis: Any, points: Points, label: str) -> None:
    steps, values = zip(*points, strict=True)
    axis.plot(steps, values, marker="o" if len(points) <= 20 else "", markersize=3, label=label)


def _column(curves: Path, name: str) -> Points:
    """What a column holds, in the order of the steps; rows without a value are passed over."""
    if not curves.is_file():
        return []
    with curves.open(encoding="utf-8", newline="") as file:
        rows = [(row["step"], row.get(name)) for row in csv.DictReader(file)]
    return [(int(step), float(value)) for step, value in rows if value]
