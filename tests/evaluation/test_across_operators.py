"""Evaluation on tiny images: baselines are honest and cached, every file is written."""

import csv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image as PillowImage

from unfold.algorithms.pgd import PGD
from unfold.data.example import Example
from unfold.denoisers.dncnn import DnCNN
from unfold.errors import ConfigError, DataError
from unfold.evaluation import figures
from unfold.evaluation.across_operators import AcrossOperators
from unfold.evaluation.base import Context, NoEvaluation, batches, evaluate, measure
from unfold.evaluation.baselines import Baselines, TunedTV, total_variation
from unfold.evaluation.metrics import ImageMetrics, psnr
from unfold.evaluation.records import read_rows
from unfold.evaluation.single_image import (
    check_measured,
    read_cropped,
    read_measurement,
    reconstruct_measured,
    reconstruct_simulated,
)
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.unfolded import Unfolded
from unfold.parameters.select import Trainable
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.priors.wavelet import Wavelet
from unfold.reconstructor import Reconstructor

TV = TunedTV(low=1e-3, high=1.0, count=4, max_iterations=60, search_iterations=40)


class Pictures:
    """Flat squares of different sizes on a gray ground."""

    evaluation_batch_size, multiple, measured = 8, 1, False

    def examples(self, split):
        return [(name, Example(image)) for name, image in self.images(split)]

    def images(self, split):
        def one(side):
            image = torch.full((1, 16, 16), 0.3)
            image[:, 4 : 4 + side, 4 : 4 + side] = 0.8
            return image

        sides = {"validation": (5, 7), "test": (6, 8, 3)}[split]
        return [(f"{side}.png", one(side)) for side in sides]

    def fingerprint(self):
        return "squares"


def network(**arguments):
    return Reconstructor(PGD(), PnP(DnCNN(1, 2, 4)), L2(), Unfolded(2), **arguments)


def classical(steps):
    return Reconstructor(PGD(), Wavelet("haar", 1), L2(), Classical(1e-6, steps))


def context(directory, physics=None, metrics=None, net=None, trained_on="inpainting"):
    return Context(
        net or network(),
        Pictures(),
        directory,
        physics or Inpainting(Gaussian(0.1)),
        trained_on,
        metrics or ImageMetrics(),
        seed=0,
        progress=False,
    )


def run(tmp_path, evaluation, net=None):
    return evaluate(evaluation, context(tmp_path / "runs" / "slug" / "abc", net=net))


def baselines(cache):
    data = Pictures()
    held = data.examples("validation"), data.examples("test")
    return Baselines(TV, *held, "squares", 0, cache)


def test_the_weight_of_tv_is_the_best_tried_on_validation(tmp_path):
    found = baselines(tmp_path).tuned("tv", Denoising(Gaussian(0.1)))
    assert [w for w, _ in found.tried] == pytest.approx(TV.weights)
    assert found.weight == max(found.tried, key=lambda pair: pair[1])[0]
    assert len(found.images) == 3


@pytest.mark.parametrize(("low", "high"), [(1e-3, 1e-2), (5.0, 50.0)])
def test_a_grid_with_its_best_weight_at_an_edge_is_extended(tmp_path, low, high):
    narrow = replace(TV, low=low, high=high, count=4, max_iterations=400, search_iterations=300)
    physics = Denoising(Gaussian(0.5))
    found = replace(baselines(tmp_path), settings=narrow).tuned("tv", physics)
    weights = [w for w, _ in found.tried]
    assert found.tuned and weights == sorted(weights)
    assert weights[0] < found.weight < weights[-1]
    batch = next(batches(Pictures().examples("validation")))
    y, operator, _ = measure(physics, batch, 0, "validation")
    others, few = torch.tensor(np.geomspace(1e-2, 5.0, 12)), len(y)
    each = torch.arange(few).repeat(12)
    wide, lam = operator.take(each, few), others.repeat_interleave(few)
    image = total_variation(y[each], wide, lam, Classical(1e-3, 400)).image
    scores = psnr(image, batch.images[each], 1.0).reshape(12, few).mean(1).tolist()
    assert max(s for _, s in found.tried) > max(scores) - 0.3


def test_a_baseline_at_the_edge_of_what_was_tried_is_marked_and_no_gain_is_over_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("unfold.evaluation.baselines.EXTENSIONS", 0)
    narrow = replace(TV, low=1e-5, high=1e-4, count=2)
    scores = run(tmp_path, AcrossOperators({}, (0.1,), narrow, gallery=0))
    assert "test/gain over tv" not in scores and "test/tv psnr" in scores
    folder = tmp_path / "runs" / "slug" / "abc" / "evaluation"
    rows = [r for r in read_rows(folder / "rows.csv") if r.method == "tv"]
    assert {r.converged for r in rows} == {"untuned"}
    assert "tv on inpainting (as trained): not tuned" in (folder / "methods.md").read_text()


def test_a_baseline_that_did_not_converge_says_so_in_every_table_and_figure(tmp_path, monkeypatch):
    texts = set()

    def keep(figure, path):
        texts.update((path.name, t.get_text()) for t in figure.findobj(Text))
        write(figure, path)

    write = figures.save
    monkeypatch.setattr(figures, "save", keep)
    stopped = AcrossOperators({}, (0.1,), replace(TV, max_iterations=2), gallery=1)
    scores = run(tmp_path, stopped, classical(1))
    folder = tmp_path / "runs" / "slug" / "abc" / "evaluation"
    where = "on inpainting (as trained): stopped, not converged"
    for name in ("methods.md", "matrix.csv", "matrix.md", "matrix.tex"):
        text = (folder / name).read_text()
        assert f"ours {where}" in text, name
        assert (f"tv {where}" in text) == (name == "methods.md"), name
    with (folder / "matrix.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert float(line["inpainting (as trained)"]) == pytest.approx(scores["test/psnr"])
    for name in ("operators.png", "gallery.png", "gallery_operators.png", "convergence.png"):
        said = [text for where, text in texts if where == name and "not converged" in text]
        assert said, name
    assert (scores["test/not converged"], scores["test/tv not converged"]) == (3.0, 3.0)


def test_what_converged_has_no_mark(tmp_path):
    scores = run(tmp_path, AcrossOperators({}, (), replace(TV, max_iterations=3000), gallery=0))
    assert not [name for name in scores if "converged" in name]
    folder = tmp_path / "runs" / "slug" / "abc" / "evaluation"
    for name in ("methods.md", "matrix.csv", "matrix.md", "matrix.tex"):
        assert "converged" not in (folder / name).read_text() and "note" not in name


def test_tv_beats_the_noisy_image_and_reaches_its_gap():
    batch = next(batches(Pictures().examples("test")))
    y, operator, _ = measure(Denoising(Gaussian(0.1)), batch, 0, "test")
    solution = total_variation(y, operator, torch.tensor([0.1]), Classical(1e-4, 3000))
    assert bool((solution.gap <= 1e-4).all())
    assert bool((psnr(solution.image, batch.images, 1.0) > psnr(y, batch.images, 1.0) + 5).all())


def test_the_baseline_is_computed_once(tmp_path, monkeypatch):
    first = baselines(tmp_path).tuned("tv", Denoising(Gaussian(0.1)))
    monkeypatch.setattr(Baselines, "_compute", None)
    second = baselines(tmp_path).tuned("tv", Denoising(Gaussian(0.1)))
    assert all(torch.equal(a, b) for a, b in zip(first.images, second.images, strict=True))
    assert (first.weight, first.converged) == (second.weight, second.converged)
    with pytest.raises(TypeError):
        baselines(tmp_path).tuned("tv", Denoising(Gaussian(0.2)))


def test_every_operator_noise_method_image_and_metric_has_its_row(tmp_path):
    forward_models = {"denoising": Denoising(), "blur": Blur(Gaussian(0.1), GaussianKernel(3, 1.0))}
    scores = run(tmp_path, AcrossOperators(forward_models, (0.05, 0.1), TV, gallery=2))
    folder = tmp_path / "runs" / "slug" / "abc" / "evaluation"
    rows = read_rows(folder / "rows.csv")
    assert len(rows) == 5 * 4 * 3 * 3
    assert {r.method for r in rows} == {"back_projection", "pseudo_inverse", "tv", "ours"}
    assert {(r.tested_on, r.noise) for r in rows if r.noise != "as trained"} == {
        (name, level) for name in forward_models for level in ("0.05", "0.1")
    }
    ours = [
        r.value
        for r in rows
        if r.method == "ours" and r.metric == "psnr" and r.noise == "as trained"
    ]
    assert scores["test/psnr"] == pytest.approx(sum(ours) / 3)
    assert scores["test/gain over tv"] == pytest.approx(
        scores["test/psnr"] - scores["test/tv psnr"]
    )
    for name in ("gallery", "gallery_operators", "parameters", "operators", "convergence"):
        with PillowImage.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 100
    assert (folder / "matrix.tex").read_text().startswith(r"\begin{tabular}")


def test_evaluating_twice_gives_the_same_rows(tmp_path):
    settings = AcrossOperators({}, (), TV, gallery=0)
    net = network()
    assert run(tmp_path, settings, net) == run(tmp_path, settings, net)


def test_no_evaluation_writes_nothing(tmp_path):
    assert run(tmp_path, NoEvaluation()) == {}
    assert list(tmp_path.iterdir()) == []


def test_other_iteration_counts_are_measured_where_the_network_is_tied(tmp_path):
    settings = AcrossOperators({}, (), TV, iterations=(1, 4), gallery=0)
    run(tmp_path, settings)
    rows = read_rows(tmp_path / "runs" / "slug" / "abc" / "evaluation" / "rows.csv")
    assert {r.iterations for r in rows if r.method.startswith("ours")} == {1, 2, 4}
    with pytest.raises(ConfigError, match=r"only a tied unfolded network"):
        run(tmp_path, settings, network(trainable=Trainable(untied=("algo.stepsize",))))


def test_one_image_is_measured_and_reconstructed(tmp_path):
    photo = tmp_path / "photo.png"
    PillowImage.fromarray(np.full((19, 17), 128, np.uint8)).save(photo)
    truth, physics = read_cropped(photo, 1, 8), Inpainting(Gaussian(0.02))
    out = tmp_path / "out.png"
    figures = reconstruct_simulated(network(), physics, truth, out, ImageMetrics(), 0)
    assert set(figures) == {"psnr", "ssim", "nmse", "iterations"}
    with PillowImage.open(tmp_path / "out.png") as picture:
        assert picture.size == (16, 16)
    with pytest.raises(DataError, match=r"out_measurement.png: a picture .* Give the \.npz file"):
        read_measurement(tmp_path / "out_measurement.png", 1)
    assert read_measurement(tmp_path / "out_measurement.npz", 1).shape == (1, 16, 16)


def test_a_real_measurement_needs_a_deterministic_forward_model(tmp_path):
    np.save(tmp_path / "y.npy", np.full((16, 16), 0.5))
    y = read_measurement(tmp_path / "y.npy", 1)
    with pytest.raises(ConfigError, match="Inpainting is random"):
        check_measured(y, Inpainting(Gaussian(0.02)), None, 1, picture=False)
    np.save(tmp_path / "kernel.npy", np.ones((3, 3)))
    physics = Blur(Gaussian(0.02), str(tmp_path / "kernel.npy"))
    operator = check_measured(y, physics, None, 1, picture=False)
    done = reconstruct_measured(network(), physics, operator, y, tmp_path / "out.png")
    assert done == {"iterations": 2.0}


def test_an_invalid_measurement_file_is_named(tmp_path):
    (tmp_path / "y.npy").write_text("text")
    with pytest.raises(DataError, match=r"y\.npy: not a readable"):
        read_measurement(tmp_path / "y.npy", 1)
    np.save(tmp_path / "z.npy", np.full((4, 4), np.nan))
    with pytest.raises(DataError, match=r"z\.npy: 16 of 16 values are NaN"):
        read_measurement(tmp_path / "z.npy", 1)


@pytest.mark.parametrize(
    ("measurement", "shape"),
    [
        (torch.rand(1, 4, 5), (4, 5)),
        (torch.rand(1, 4, 5) * 30, (4, 5)),
        (torch.rand(3, 4, 5), (4, 5, 3)),
        (torch.randn(1, 4, 5, dtype=torch.complex64), (4, 5)),
        (torch.randn(4, 6, 5, dtype=torch.complex64), (6, 5)),
        (torch.rand(7), (3, 3)),
        (torch.zeros(2, 3, 4, 5), (11, 11)),
    ],
)
def test_any_measurement_can_be_shown(measurement, shape):
    from unfold.evaluation.shown import picture

    found = picture(measurement)
    assert found.shape == shape and found.min() >= 0 and found.max() <= 1


def test_large_images_are_one_for_each_thread_on_a_cpu_and_every_grouping_gives_the_same(
    monkeypatch,
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    sizes = [(128, 128)] * 9 + [(256, 256)] * 5
    held = [(str(i), Example(torch.zeros(1, *size))) for i, size in enumerate(sizes)]

    def grouped(size, device):
        return [len(one.names) for one in batches(held, size, device)]

    assert grouped(8, "cpu") == [8, 1, 2, 2, 1]
    assert grouped(8, "cuda") == [8, 1, 5]
    assert grouped(1, "cpu") == [1] * 14
    physics = Blur(Gaussian(0.02), GaussianKernel(5, 1.0))
    truths = torch.rand(2, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    held, found = [(str(i), Example(x)) for i, x in enumerate(truths)], []
    for size in (1, 2):
        cases = [measure(physics, one, 0, "test") for one in batches(held, size, "cpu")]
        solve = partial(total_variation, weights=torch.tensor([0.01]), model=Classical(1e-9, 5))
        found.append(torch.cat([solve(case.y, case.operator).image for case in cases]))
    assert torch.equal(*found)
