"""What figures show: boxes at their places, methods with their captions, limits of axes."""

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from unfold.evaluation import figures, report
from unfold.evaluation.base import Condition, Shown
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.records import Row
from unfold.evaluation.shown import views
from unfold.evaluation.single_image import Trace
from unfold.physics.blur.blur import ValidBlur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.ct.tomography import Tomography
from unfold.physics.denoising import Denoising
from unfold.physics.mri.cartesian import MRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import NoNoise

KERNEL = GaussianKernel(9, 1.0)


def boxes(physics, measurement, truth, tmp_path, monkeypatch):
    """The corner and the side of the box in each panel, by its column; an inset for each."""
    kept = []
    monkeypatch.setattr(figures, "save", lambda figure, path: kept.append(figure))
    condition = Condition("one", "as trained", physics)
    shown = Shown(condition, "a", truth, measurement, True, None, "", truth, ("", ""), (30.0, 30.0))
    figures.gallery([views(shown)], tmp_path / "gallery.png")
    found = {}
    for name, axis in zip(("truth", "measurement", "ours"), kept[0].axes, strict=False):
        drawn = [one for one in axis.patches if isinstance(one, Rectangle)]
        assert len(drawn) == len(axis.child_axes)
        if drawn:
            found[name] = (*drawn[0].get_xy(), drawn[0].get_width())
    plt.close(kept[0])
    return found


@pytest.mark.parametrize("side", [128, 400])
@pytest.mark.parametrize(
    ("physics", "measure", "factor"),
    [
        (SuperResolution(NoNoise(), KERNEL, 2), lambda x: x[..., ::2, ::2], 2),
        (SuperResolution(NoNoise(), KERNEL, 4), lambda x: x[..., ::4, ::4], 4),
        (ValidBlur(NoNoise(), KERNEL), lambda x: x[..., 4:-4, 4:-4], 1),
        (Denoising(NoNoise()), lambda x: x, 1),
    ],
)
def test_the_box_of_the_zoom_is_at_one_place_of_the_scene(
    physics, measure, factor, side, tmp_path, monkeypatch
):
    """A single square in the scene: every box holds its centre at the same share of the box."""
    truth = torch.zeros(1, side, side)
    top, left = side // 2 - 30, side // 2 + 14
    truth[:, top : top + 16, left : left + 16] = 1
    found = boxes(physics, measure(truth), truth, tmp_path, monkeypatch)
    (x, y, width), (own_x, own_y, own_width) = found["truth"], found["measurement"]
    lost = (min(side, 256) - factor * min(256 // factor, measure(truth).shape[-1])) / 2
    assert own_width == pytest.approx(width / factor, abs=1)
    for there, here in ((x, own_x), (y, own_y)):
        assert factor * (here + 0.5) + lost == pytest.approx(there + 0.5, abs=factor)


@pytest.mark.parametrize(
    ("physics", "shape", "dtype"),
    [
        (MRI(NoNoise(), RandomColumns()), (1, 128, 128), torch.complex64),
        (Tomography(NoNoise(), 128), (1, 128, 128), torch.float32),
    ],
)
def test_what_is_no_image_has_no_box(physics, shape, dtype, tmp_path, monkeypatch):
    y = torch.rand(shape).to(dtype)
    found = boxes(physics, y, torch.rand(1, 128, 128), tmp_path, monkeypatch)
    assert found.keys() == {"truth", "ours"}


def test_the_caption_of_the_figure_is_of_the_methods_it_shows(tmp_path, monkeypatch):
    """A pseudo-inverse at -49 dB is left out, of which the table says so, and no figure."""
    values = {"pseudo_inverse": -49.0, "back_projection": 15.0, "wiener": 24.0, "ours": 28.0}
    rows = [
        Row("r", "blur", "blur", "0.02", m, 1, "False" * (m != "ours"), "a", "psnr", v)
        for m, v in values.items()
    ]
    kept = []
    monkeypatch.setattr(figures, "save", lambda figure, path: kept.append((path.name, figure)))
    monkeypatch.setattr(report, "follow", lambda *given: [])
    net = SimpleNamespace(parameter_values=dict, dead={}, model=None)
    monkeypatch.setattr(report, "groups_of", lambda net: [])
    data = SimpleNamespace(measured=False, examples=lambda split: [])
    context = SimpleNamespace(
        folder=tmp_path, run=tmp_path, reconstructor=net, data=data, metrics=ImageMetrics(),
        physics=None, seed=0,
    )  # fmt: skip
    report.write_report(context, rows, [], 0)
    figure = dict(kept)["operators.png"]
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert labels == {"wiener", "ours"}
    caption = figure._supxlabel.get_text()
    assert "pseudo" not in caption and "back" not in caption and "wiener on blur" in caption
    assert "pseudo_inverse on blur (0.02): left out" in (tmp_path / "methods.md").read_text()
    for _, one in kept:
        plt.close(one)


@pytest.mark.parametrize("values", [(1e-3, math.nextafter(1e-3, 1)), (0.5, 0.5), (0.0, 0.0)])
def test_a_curve_that_is_constant_but_for_rounding_has_limits(values, tmp_path):
    """On a log scale, two values with one logarithm have no margin, of which Matplotlib warns."""
    points = [(1, values[0]), (2, values[1])]
    curves = tmp_path / "metrics.csv"
    curves.write_text("step,train/loss\n" + "".join(f"{k},{v!r}\n" for k, v in points))
    over = torch.tensor(values, dtype=torch.float64)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = Trace("a", [], points, "relative change", "")
        figures.convergence_figure([trace], tmp_path / "convergence.png")
        figures.training_figure(curves, "psnr", tmp_path / "training.png")
        at = torch.tensor([0.1, 0.2])
        figures.conditions_figure([("a", "noise", at, over)], tmp_path / "conditions.png")
    axis = figures.draw_training({"": figures.columns_of(curves)}, "psnr").axes[0]
    low, high = axis.get_ylim()
    assert low < values[0] < high and high > low + abs(values[0]) / 10
    plt.close("all")
