"""Tables of runs: the mean and Student's interval, in four forms, and what a cell mixes."""

import csv
import io
import math

import numpy as np
import pytest
import scipy.stats

from tests.runs.made import make_run
from unfold.errors import ConfigError
from unfold.evaluation.rows import Row, write_rows
from unfold.runs.catalogue import catalogue
from unfold.runs.pivot import csv_text, interval, latex, markdown, pivot, student_quantile

PGD = [30.0, 30.4, 29.9]


@pytest.fixture
def runs(tmp_path):
    for seed, value in enumerate(PGD):
        scores = {"test/psnr": value, "psnr": 0.0}
        make_run(tmp_path, f"pgd-blur/{seed}", seed=seed, scores=scores, data={"seed": seed})
    choices = {"algo": "admm", "physics": "in|painting_1"}
    make_run(tmp_path, "admm-inpainting/1", choices=choices, scores={"test/psnr": 28.0})
    make_run(tmp_path, "pgd-blur/9", state="failed")
    return tmp_path


@pytest.mark.parametrize("degrees", [*range(1, 12), 40, 99])
def test_the_quantile_is_that_of_scipy(degrees):
    for p in (0.9, 0.975, 0.995):
        expected = scipy.stats.t.ppf(p, degrees)
        assert student_quantile(p, degrees) == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_that_of_scipy():
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(PGD), scipy.stats.sem(PGD))
    assert interval(PGD) == pytest.approx((high - low) / 2, rel=1e-9)
    assert interval([1.0]) is None


def test_cells_hold_the_runs_of_their_row_and_column(runs):
    table = pivot(catalogue(runs), "algo", "physics", "test/psnr")
    assert sorted(table.values("pgd", "motion_blur")) == sorted(PGD)
    assert table.values("pgd", "in|painting_1") == []
    assert table.mixed() == [], "seeds are what a cell is for"


def test_a_cell_that_mixes_configurations_says_so(runs):
    make_run(
        runs, "pgd-blur/5", scores={"test/psnr": 31.0}, optimizer={"lr": 0.1}, data={"seed": 0}
    )
    assert pivot(catalogue(runs), "algo", "physics", "psnr").mixed() == ["optimizer.lr"]


def test_every_form_has_the_same_numbers(runs):
    table = pivot(catalogue(runs), "algo", "physics", "test/psnr")
    half = interval(PGD)
    text = f"{np.mean(PGD):.2f} ± {half:.2f} (3)"
    assert markdown(table).splitlines()[1:] == [
        "| --- | ---: | ---: |",
        "| admm | 28.00 |  |",
        f"| pgd |  | {text} |",
    ]
    assert "in\\|painting_1" in markdown(table)
    assert "pgd &  & " + text.replace("±", r"$\pm$") + r" \\" in latex(table)
    assert r"painting\_1" in latex(table) and r"motion\_blur" in latex(table)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert math.isclose(float(rows[1]["test/psnr"]), np.mean(PGD))
    assert (float(rows[1]["interval"]), rows[1]["runs"]) == (half, "3")
    assert (rows[0]["algo"], rows[0]["interval"]) == ("admm", "")


def test_keys_and_scores_that_no_run_has_are_refused(runs):
    with pytest.raises(ConfigError, match=r"No finished run has alg, .*Groups: algo, physics"):
        pivot(catalogue(runs), "alg", "physics", "test/psnr")
    with pytest.raises(ConfigError, match=r"--value test/psn: is not measured.*'test/psnr'"):
        pivot(catalogue(runs), "algo", "physics", "test/psn")


def evaluated(root, name, trained_on, figures):
    """A run with the rows of its evaluation: two images, and a baseline that is no part of it."""
    path = make_run(
        root, name, choices={"algo": "pgd", "physics": trained_on}, scores={"psnr": 0.0}
    )
    (path / "evaluation").mkdir()
    rows = [
        Row(name, trained_on, tested, noise, method, 5, "", image, "psnr", value + shift)
        for (tested, noise), value in figures.items()
        for method, shift in (("ours", 0.0), ("tv", 9.0))
        for image, shift in (("a.png", shift - 1), ("b.png", shift + 1))
    ]
    write_rows(path / "evaluation" / "rows.csv", rows)


def test_runs_are_compared_on_every_operator_they_were_tested_on(tmp_path):
    evaluated(tmp_path, "p/1", "blur", {("blur", "as trained"): 30.0, ("mask", "0.02"): 24.0})
    evaluated(tmp_path, "p/2", "mask", {("blur", "0.02"): 26.0, ("mask", "0.02"): 29.0})
    make_run(tmp_path, "p/3", choices={"algo": "pgd", "physics": "blur"}, scores={"psnr": 1.0})
    table = pivot(catalogue(tmp_path), "tested_on", "physics", "psnr")
    assert table.names(0) == ["blur, 0.02", "blur, as trained", "mask, 0.02"]
    assert table.values("mask, 0.02", "blur") == [24.0]
    assert table.values("mask, 0.02", "mask") == [29.0]
    assert table.values("blur, as trained", "mask") == []
    assert "mask, 0.02" in markdown(table)


def test_an_axis_of_evaluations_needs_one(runs):
    with pytest.raises(ConfigError, match="tested_on is for runs with an evaluation"):
        pivot(catalogue(runs), "tested_on", "physics", "psnr")
