"""Undefined metrics of single images are named, counted and left out; they decide nothing."""

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.small import small_settings, small_training
from unfold.data.example import Example
from unfold.data.image_data import FolderData
from unfold.errors import NonFiniteError
from unfold.evaluation.baselines import Baselines, TunedTV
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.records import (
    Row,
    common,
    mean,
    pivot,
    read_rows,
    to_csv,
    to_latex,
    write_rows,
)
from unfold.evaluation.report import left_out, main_figures, methods_table
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian
from unfold.runs import files
from unfold.training.callbacks import EarlyStopping
from unfold.training.fit import fit
from unfold.training.settings import CSV


def test_what_has_no_value_is_nan_and_what_diverged_is_the_worst():
    truth = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    truth[0] = 0
    image = truth + 0.1
    image[1] = truth[1]
    image[2, 0, 0, 0] = float("nan")
    found = ImageMetrics(("psnr", "nmse"))(image, truth)
    psnr, nmse = found["psnr"].tolist(), found["nmse"].tolist()
    assert math.isnan(psnr[1]) and math.isnan(nmse[0]) and nmse[1] == 0.0
    assert psnr[2] == -math.inf and nmse[2] == math.inf
    assert psnr[0] == pytest.approx(20.0, abs=1e-4)
    expected = 0.01 * 256 / float((truth[3] ** 2).sum())
    assert nmse[3] == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def folder(tmp_path):
    """Images to train on, and three to validate on, of which some are black."""
    numbers = np.random.default_rng(0)

    def write(split, names, *, black=()):
        (tmp_path / split).mkdir()
        for name in names:
            levels = np.zeros((24, 24)) if name in black else numbers.integers(30, 255, (24, 24))
            Image.fromarray(levels.astype(np.uint8)).save(tmp_path / split / f"{name}.png")

    def make(black):
        write("train", "abcd")
        write("validation", "efg", black=black)
        write("test", "hij")
        return FolderData(
            root=str(tmp_path / "train"), seed=0, crop=16, batch_size=4, crops_per_image=1,
            validation_root=str(tmp_path / "validation"), test_root=str(tmp_path / "test"),
            channels=1, evaluation_batch_size=1,
        )  # fmt: skip

    return make


def trained(data, directory, **settings):
    training = small_training()
    given = small_settings(4, **settings)
    return fit(training, data, given, CSV(), directory, objective="validation/nmse")


def test_a_black_image_decides_nothing(folder, tmp_path):
    scores = trained(folder(black="f"), tmp_path / "run", early_stopping=1)
    assert math.isfinite(scores["best validation/nmse"]) and scores["steps"] == 4
    with (tmp_path / "run/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["validation/nmse"]]
    values = [float(row["validation/nmse"]) for row in rows]
    assert len(values) >= 4 and all(map(math.isfinite, values))
    assert scores["best validation/nmse"] == min(values)


def test_an_objective_that_is_never_defined_is_an_error(folder, tmp_path):
    with pytest.raises(NonFiniteError, match=r"validation/nmse = nan in every validation"):
        trained(folder(black="efg"), tmp_path / "run", early_stopping=1)
    text = (tmp_path / "run/metrics.csv").read_text()
    assert "nan" not in text and "inf" not in text


@pytest.mark.filterwarnings("ignore:.*srun.* command")
def test_an_undefined_value_is_no_validation_without_improvement(monkeypatch):
    stopping, trainer = EarlyStopping("validation/nmse", "min", 1), pl.Trainer(logger=False)
    scores = {"validation/nmse": torch.tensor(float("nan"))}
    monkeypatch.setattr(pl.Trainer, "callback_metrics", scores)
    stopping._run_early_stopping_check(trainer)
    assert stopping.wait_count == 0


def rows():
    values = {"a": (30.0, 20.0), "b": (math.nan, 50.0), "c": (32.0, 21.0)}
    return [
        Row("r", "blur", "blur", "0.1", method, 1, "", image, metric, pair[i])
        for metric in ("psnr", "nmse")
        for i, method in enumerate(("ours", "tv"))
        for image, pair in values.items()
    ]


@pytest.mark.filterwarnings("ignore:.* is undefined for")
def test_means_leave_it_out_with_a_count_and_gains_compare_the_same_images(tmp_path):
    found = rows()
    assert mean([r for r in found if r.method == "ours"], "psnr") == 31.0
    with pytest.warns(UserWarning, match=r"psnr is undefined for 1 test images.*: b\."):
        figures = main_figures(found)
    assert figures["test/psnr"] == 31.0 and figures["test/psnr undefined"] == 1.0
    assert figures["test/gain over tv"] == 31.0 - 20.5
    write_rows(tmp_path / "rows.csv", found)
    text = (tmp_path / "rows.csv").read_text()
    assert "nan" not in text and text.count("undefined") == 2
    again = read_rows(tmp_path / "rows.csv")
    assert list(map(repr, again)) == list(map(repr, found))


def test_no_file_holds_what_its_format_has_no_word_for(tmp_path):
    def refuse(word):
        raise AssertionError(word)

    content = {"a": math.nan, "b": [math.inf, 1.0], "c": {"d": -math.inf, "e": (2.0,)}}
    files.write_json(tmp_path / "a.json", content)
    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert read == {"a": None, "b": [None, 1.0], "c": {"d": None, "e": [2.0]}}
    table = pivot(
        [r for r in rows() if r.image == "b"], lambda r: r.image, lambda r: r.method, "psnr"
    )
    assert to_csv(table).splitlines()[1] == "b,undefined,50.0"
    assert "nan" not in to_latex(table)


@pytest.mark.filterwarnings("ignore:.* is undefined for")
def test_no_method_gains_by_an_image_that_another_one_reconstructs_exactly():
    values = {"ours": (20.0, 40.0), "tv": (22.0, math.nan)}
    found = [
        Row("r", "blur", "blur", "0.1", method, 1, "", image, "psnr", value)
        for method, both in values.items()
        for image, value in zip("ab", both, strict=True)
    ]
    kept, absent = common(found)
    assert methods_table(kept).cells == ((20.0, 22.0),)
    assert "without b, whose psnr is undefined" in left_out(absent, "psnr")[0]
    figures = main_figures(found)
    assert figures["test/psnr"] == 20.0 and figures["test/gain over tv"] == -2.0


@pytest.mark.parametrize("method", ["tv", "wiener", "cg_sense"])
def test_a_gain_over_tv_needs_that_tv_is_tuned(method):
    found = [r for r in rows() if not math.isnan(r.value)]
    other = [replace(r, method=method) for r in found if r.method == "tv"]
    marked = [replace(r, converged="untuned") for r in other]
    kept = found if method != "tv" else [r for r in found if r.method == "ours"]
    assert ("test/gain over tv" in main_figures([*kept, *marked])) == (method != "tv")


@pytest.mark.parametrize(("higher", "gain"), [(True, 10.5), (False, -10.5), (None, None)])
def test_the_gain_of_a_further_metric_is_as_it_states(higher, gain):
    found = [r for r in rows() if r.metric == "psnr" and not math.isnan(r.value)]
    found = [replace(r, metric="mine") for r in found if r.image != "b"]
    metric = SimpleNamespace(higher_is_better=higher)
    assert main_figures(found, metric).get("test/gain over tv") == gain


def test_images_without_structure_have_no_say_in_the_weight_of_the_baseline(tmp_path):
    numbers = torch.Generator().manual_seed(0)
    steps = [torch.rand(1, 3, 3, generator=numbers).repeat_interleave(8, 1) for _ in range(3)]
    images = [("a", steps[0].repeat_interleave(8, 2)), ("b", steps[1].repeat_interleave(8, 2))]
    flat = [("white", torch.ones(1, 24, 24)), ("black", torch.zeros(1, 24, 24))]
    settings = TunedTV(count=6, high=0.5, search_iterations=150, max_iterations=50, images=4)

    def weighted(chosen):
        held = [(name, Example(image)) for name, image in chosen]
        found = Baselines(settings, held, held, str(len(chosen)), 0, tmp_path)
        with torch.no_grad():
            return found._tune(Denoising(Gaussian(0.1)))

    alone, all_of_them = weighted(images), weighted([*images, *flat])
    assert all_of_them == pytest.approx(alone, abs=1e-2)
    assert len(weighted(flat)) == 6 and set(weighted(flat).values()) == {0.0}
