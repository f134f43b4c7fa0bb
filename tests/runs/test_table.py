"""Tables of runs: mean and standard deviation, in four formats, and what a cell mixes."""

import csv
import io
import math
import statistics

import numpy as np
import pytest

from tests.runs.made import make_run, sealed
from unfold.errors import ConfigError
from unfold.evaluation.records import Row, write_rows
from unfold.runs import files
from unfold.runs.catalogue import catalogue
from unfold.runs.table import csv_text, full_name, latex, markdown, pivots, text_of

PGD = [30.0, 30.4, 29.9]


def pivot(*given):
    """The one table of runs that compare."""
    (found,) = pivots(*given)
    return found


@pytest.fixture
def runs(tmp_path):
    for seed, value in enumerate(PGD):
        scores = {"test/psnr": value, "psnr": 0.0}
        make_run(tmp_path, f"pgd-blur/{seed}", seed=seed, scores=scores, data={"seed": seed})
    choices = {"algo": "admm", "physics": "in|painting_1"}
    make_run(tmp_path, "admm-inpainting/1", choices=choices, scores={"test/psnr": 28.0})
    make_run(tmp_path, "pgd-blur/9", state="failed")
    return tmp_path


def test_cells_hold_the_runs_of_their_row_and_column(runs):
    table = pivot(catalogue(runs), "algo", "physics", "test/psnr")
    assert sorted(table.values("pgd", "motion_blur")) == sorted(PGD)
    assert table.values("pgd", "in|painting_1") == []
    assert table.mixed() == [], "seeds are what a cell is for"


def test_a_cell_that_mixes_configurations_is_reported(runs):
    make_run(
        runs,
        "pgd-blur/5",
        scores={"test/psnr": 31.0},
        optimizer={"lr": 0.1},
        data={"seed": 0, "workers": 2},
        trainer={"progress": False},
    )
    table = pivot(catalogue(runs), "algo", "physics", "test/psnr")
    assert table.mixed() == ["optimizer.lr"]


def test_every_form_has_the_same_numbers(runs):
    table = pivot(catalogue(runs), "algo", "physics", "test/psnr")
    spread = statistics.stdev(PGD)
    text = f"{np.mean(PGD):.2f} ± {spread:.2f} (3)"
    assert markdown(table).startswith("**test/psnr: mean ± standard deviation (runs)**\n\n| algo")
    assert r"\multicolumn{3}{l}{test/psnr: mean $\pm$ standard deviation (runs)} \\" in latex(table)
    assert markdown(table).splitlines()[3:] == [
        "| --- | ---: | ---: |",
        "| admm | 28.00 |  |",
        f"| pgd |  | {text} |",
    ]
    assert "in\\|painting_1" in markdown(table)
    assert "pgd &  & " + text.replace("±", r"$\pm$") + r" \\" in latex(table)
    assert r"painting\_1" in latex(table) and r"motion\_blur" in latex(table)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert math.isclose(float(rows[1]["test/psnr"]), np.mean(PGD))
    assert (float(rows[1]["std"]), rows[1]["runs"]) == (spread, "3")
    assert (rows[0]["algo"], rows[0]["std"]) == ("admm", "")


def test_one_score_is_shown_for_all_runs_and_those_without_it_are_named(tmp_path):
    best = {"best validation/psnr": 35.0}
    make_run(tmp_path, "pgd/1", scores={**best, "test/psnr": 30.0})
    make_run(tmp_path, "pgd/2", seed=1, scores=best)
    make_run(tmp_path, "pgd/3", state="failed")
    table = pivot(catalogue(tmp_path), "algo", "physics", "psnr")
    assert (table.value, table.values("pgd", "motion_blur")) == ("test/psnr", [30.0])
    assert table.left_out == {"not finished": ["pgd/3"], "without test/psnr": ["pgd/2"]}
    alone = pivot(catalogue(tmp_path, "*/2"), "algo", "physics", "psnr")
    assert (alone.value, alone.values("pgd", "motion_blur")) == ("best validation/psnr", [35.0])


def test_a_score_is_found_by_the_end_that_only_it_has(tmp_path):
    make_run(tmp_path, "pgd/1", scores={"test/psnr": 30.0, "test/tv psnr": 28.0, "best x": 1.0})
    ends = {"psnr": "test/psnr", "tv psnr": "test/tv psnr", "x": "best x"}
    for end, full in ends.items():
        assert full_name(end, catalogue(tmp_path)) == full
    make_run(tmp_path, "pgd/2", scores={"a ssim": 0.3, "b ssim": 0.4})
    with pytest.raises(ConfigError, match=r"--value ssim: fits a ssim, b ssim"):
        full_name("ssim", catalogue(tmp_path))


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
    sealed(path)


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


@pytest.mark.parametrize(
    ("value", "count"), [("psnr", "not converged"), ("tv psnr", "tv not converged")]
)
def test_runs_that_did_not_converge_are_marked_in_every_form(tmp_path, value, count):
    scores = {f"test/{value}": 30.0}
    make_run(tmp_path, "pgd/1", scores=scores)
    make_run(tmp_path, "pgd/2", seed=1, scores=scores | {f"test/{count}": 2.0})
    make_run(tmp_path, "admm/1", choices={"algo": "admm", "physics": "motion_blur"}, scores=scores)
    table = pivot(catalogue(tmp_path), "algo", "physics", value)
    legend = "† stopped, not converged for some images"
    assert "30.00 (2) †" in markdown(table) and "| 30.00 |" in markdown(table)
    assert legend in markdown(table) and legend.replace("†", r"$\dagger$") in latex(table)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert [row["not converged"] for row in rows] == ["0", "1"]


def test_operators_on_which_a_run_did_not_converge_are_marked(tmp_path):
    path = make_run(
        tmp_path, "p/1", choices={"algo": "pgd", "physics": "blur"}, scores={"psnr": 0.0}
    )
    (path / "evaluation").mkdir()
    rows = [
        Row("p/1", "blur", tested, "0.1", method, 5, flag, "a.png", "psnr", 30.0)
        for tested, method, flag in (
            ("blur", "ours", "True"),
            ("blur", "tv", "False"),
            ("mask", "ours", "False"),
        )
    ]
    write_rows(path / "evaluation" / "rows.csv", rows)
    sealed(path)
    table = pivot(catalogue(tmp_path), "tested_on", "physics", "psnr")
    assert markdown(table).count("30.00 †") == 1 and "| mask, 0.1 | 30.00 † |" in markdown(table)


def test_an_axis_of_evaluations_needs_one(runs):
    with pytest.raises(ConfigError, match="tested_on is for runs with an evaluation"):
        pivot(catalogue(runs), "tested_on", "physics", "psnr")


def test_an_interval_needs_three_computations(tmp_path):
    for name, seed, value in (("a", 0, 30.0), ("b", 1, 57.2)):
        make_run(tmp_path, f"pgd/{name}", seed=seed, scores={"test/psnr": value})
    table = pivot(catalogue(tmp_path), "algo", "physics", "psnr")
    assert text_of(table.values("pgd", "motion_blur")) == "43.60 (2)"
    assert csv_text(table).splitlines()[1] == "pgd,motion_blur,43.6,,2"
    assert text_of([30.0]) == "30.00" and text_of([]) == ""


def test_one_computation_under_several_names_counts_once(tmp_path):
    for name, more in {
        "pgd/a": {},
        "pgd-again/a": {"runs_dir": "elsewhere"},
        "pgd/c": {"trainer": {"threads": 2}},
        "pgd/d": {"evaluation": {"gallery": 1}, "logger": {"x": 1}},
    }.items():
        for seed in (0, 1):
            config = {"trainer": {"threads": 1}, **more}
            path = f"{name}{seed}"
            make_run(tmp_path, path, seed=seed, scores={"test/psnr": 30.0 + seed}, **config)
    table = pivot(catalogue(tmp_path), "algo", "physics", "psnr")
    assert sorted(table.values("pgd", "motion_blur")) == [30.0, 31.0]
    twins = [names for why, names in table.left_out.items() if why.startswith("the same comput")]
    assert sum(map(len, twins)) == 6


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("metrics.data_range", {"metrics": {"data_range": 1.0}}, {"metrics": {"data_range": 2.0}}),
        ("metrics.border", {"metrics": {"border": 0}}, {"metrics": {"border": 8}}),
        ("data.channels", {"data": {"channels": 1}}, {"data": {"channels": 3}}),
        ("test_set", {}, {}),
    ],
)
def test_scores_of_another_meaning_are_not_mixed(tmp_path, key, one, other):
    for seed, more in enumerate((one, other)):
        path = make_run(tmp_path, f"pgd/{seed}", seed=seed, scores={"test/psnr": 30.0}, **more)
        if key == "test_set":
            origin = files.read_json(path / "provenance.json") | {
                "pixels": {"test": f"abcd000{seed}"}
            }
            files.write_json(path / "provenance.json", origin)
            sealed(path)
    make_run(tmp_path, "pgd/9", state="failed")
    tables = pivots(catalogue(tmp_path), "algo", "physics", "psnr")
    assert [len(table.values("pgd", "motion_blur")) for table in tables] == [1, 1]
    titles = [table.title for table in tables]
    assert all(f"test/psnr, {key} " in title for title in titles) and len(set(titles)) == 2
    assert [table.left_out for table in tables] == [{"not finished": ["pgd/9"]}, {}]
    assert len(pivot(catalogue(tmp_path), "algo", key, "psnr").cells) == 2
