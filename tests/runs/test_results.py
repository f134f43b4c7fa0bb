"""Several figures of runs in one table: intervals, costs, pairs; only what compares."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.runs.made import make_run, sealed
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.errors import ConfigError
from unfold.evaluation.records import Bold, Row, write_rows
from unfold.runs import files
from unfold.runs.catalogue import catalogue
from unfold.runs.results import blocks, pairs, written
from unfold.runs.table import pivots

PLACES = (("blur", "as trained", 0.0), ("other", "as trained", -5.0))
VALUES = ("psnr", "nmse", "parameters", "operator_calls", "seconds", "memory")


def made(
    root, name, shift, *, algo="pgd", sets="one", images=12, places=PLACES, change=None, **config
):
    """A finished run with rows of 12 images, the test set that it has, and what it cost."""
    path = make_run(
        root,
        name,
        choices={"algo": algo, "physics": "blur"},
        scores={"test/psnr": 1.0},
        **({"metrics": {"data_range": 1.0}} | config),
    )
    origin = files.read_json(path / "provenance.json") | {"pixels": {"test": sets}}
    files.write_json(path / "provenance.json", origin)
    rng, folder = np.random.default_rng(0), path / "evaluation"
    folder.mkdir()
    psnr = {f"{i}.png": float(v) for i, v in enumerate(rng.normal(27, 1, images))}
    rows = [
        Row(name, "blur", tested, noise, method, 5, "", image, metric, value)
        for tested, noise, more in places
        for method, gain in (("tv", -1.0), ("ours", shift))
        for image, base in psnr.items()
        for metric, value in (("psnr", base + gain + more), ("nmse", 10 ** -(base + gain)))
    ]
    write_rows(folder / "rows.csv", [change(row) if change else row for row in rows])
    cost = {"parameters": 1200, "operator_calls": 12, "seconds": 0.5, "memory": 300}
    (folder / "cost.json").write_text(json.dumps(cost))
    return sealed(path)


@pytest.fixture
def runs(tmp_path):
    made(tmp_path, "p/1", 0.0)
    made(tmp_path, "p/2", 1.0, algo="admm")
    return tmp_path


def test_a_line_has_every_value_with_its_interval_and_the_best_is_bold(runs):
    (block,), _ = blocks(catalogue(runs), "algo", VALUES)
    assert block.title.startswith("blur (as trained), test images one: mean ± half of the 95%")
    lines = {line[0]: line for line in block.lines[1:]}
    assert block.lines[0] == ["algo", *VALUES] and set(lines) == {"pgd", "admm"}
    assert lines["pgd"][3:] == ["1,200", "12", "0.5000", "300"]
    mean, half = map(float, lines["admm"][1].split(" ± "))
    assert 27 < mean < 29 and 0.2 < half < 1
    text = written(block, "md")
    assert f"**{lines['admm'][1]}**" in text and f"**{lines['pgd'][1]}**" not in text
    assert rf"\textbf{{{lines['admm'][1].replace('±', r'$' + chr(92) + 'pm$')}}}" in written(
        block, "latex"
    )
    found = list(csv.DictReader(io.StringIO(written(block, "csv"))))
    psnr = next(r for r in found if (r["algo"], r["value"]) == ("admm", "psnr"))
    assert float(psnr["low"]) < float(psnr["mean"]) < float(psnr["high"])
    assert psnr["images"] == "12"


@pytest.mark.parametrize("other", [{"sets": "two"}, {"metrics": {"data_range": "max"}}])
def test_runs_of_other_images_or_ranges_are_side_by_side(runs, other):
    made(runs, "p/3", 9.0, **other)
    assert [len(block.lines) for block in blocks(catalogue(runs), "run", ("psnr",))[0]] in (
        [3, 2],
        [2, 3],
    )
    one, *_, three = sorted(catalogue(runs), key=lambda entry: entry.name)
    with pytest.raises(ConfigError, match="no images are compared: "):
        list(pairs(one, three))
    tables = pivots(catalogue(runs), "algo", "physics", "test/psnr")
    assert len({table.title for table in tables}) == len(tables) == 2


def test_seeds_are_averaged_image_by_image_and_few_images_have_a_dash(tmp_path):
    made(tmp_path, "p/1", 0.0)
    made(tmp_path, "p/2", 1.0)
    (block,), _ = blocks(catalogue(tmp_path), "algo", ("psnr",))
    assert len(block.lines) == 2 and block.values[0][0].images == 12
    made(tmp_path / "few", "p/1", 0.0, images=4)
    (block,), _ = blocks(catalogue(tmp_path / "few"), "algo", ("psnr",))
    assert block.lines[1][1].endswith("± –")


def test_a_pair_shows_the_difference_its_chance_and_the_extreme_images(runs):
    one, other = sorted(catalogue(runs), key=lambda entry: entry.name)
    lines = {line[0]: line for line in pairs(one, other)}
    line = lines["blur (as trained), psnr"]
    assert line[3].startswith("1.00") and float(line[4]) == pytest.approx(2 / 2**12, rel=0.02)
    assert line[5].endswith("+1") and len(lines) == 4


def test_the_command_line(runs, capsys):
    words = ["table", "--value", "psnr,nmse,memory", f"runs_dir={runs}"]
    for form, text in (("md", "| run |"), ("latex", r"\begin{tabular}"), ("csv", "run,value,")):
        assert guarded(dispatch, [*words, "--format", form]) == 0
        assert text in capsys.readouterr().out
    assert guarded(dispatch, [*words[:2], "psnr,psn", words[3]]) == 2
    assert "--value psn: is not measured, did you mean 'psnr'" in capsys.readouterr().err
    assert guarded(dispatch, ["diff", "p/1", "p/2", f"runs_dir={runs}"]) == 0
    assert "p (Wilcoxon)" in capsys.readouterr().out


def noise(sigma, **more):
    return {"physics": {"noise": {"sigma": sigma}, **more}}


@pytest.mark.parametrize(
    ("one", "other"), [(noise(0.02), noise(0.05)), (noise(0.02, seed=0), noise(0.02, seed=1))]
)
def test_runs_of_other_problems_are_side_by_side(tmp_path, one, other):
    made(tmp_path, "p/1", 0.0, **one)
    made(tmp_path, "p/2", -5.0, **other)
    found, _ = blocks(catalogue(tmp_path), "algo", ("psnr",))
    assert [len(block.lines) for block in found] == [2, 2]
    first, second = (block.title.partition(":")[0] for block in found)
    assert first.partition("physics.")[0] == second.partition("physics.")[0] and first != second
    assert list(pairs(*catalogue(tmp_path))) == []


def test_an_axis_of_the_physics_is_one_table_without_a_best(tmp_path):
    for i, sigma in enumerate((0.02, 0.05)):
        made(tmp_path, f"p/{i}", -i, **noise(sigma))
    (block,), _ = blocks(catalogue(tmp_path), "physics.noise.sigma", ("psnr",))
    assert {line[0] for line in block.lines[1:]} == {"0.02", "0.05"}
    assert not any(isinstance(line[1], Bold) for line in block.lines[1:])


def test_a_computation_counts_once_and_what_is_left_out_is_named(runs):
    made(runs, "again/1", 0.0, runs_dir="elsewhere")
    make_run(runs, "p/4", state="failed")
    make_run(runs, "p/5", seed=3, scores={"test/psnr": 1.0})
    (made(runs, "p/6", 0.0, seed=4) / "results.json").write_text("{")
    (block,), table = blocks(catalogue(runs), "algo", ("psnr",))
    pgd = next(v for v, line in zip(block.values, block.lines[1:], strict=True) if line[0] == "pgd")
    (alone,), _ = blocks(catalogue(runs, "p/1"), "algo", ("psnr",))
    assert pgd == alone.values[0]
    assert table.left_out["not finished"] == ["p/4"] and table.left_out["without psnr"] == ["p/5"]
    assert any(why.startswith("the same computation as ") for why in table.left_out)
    assert any(why.startswith("damaged: ") for why in table.left_out)


def test_runs_that_did_not_converge_are_marked_in_every_form(tmp_path):
    def stop(row):
        return replace(row, converged="False") if row.image == "3.png" else row

    made(tmp_path, "p/1", 0.0, change=stop)
    made(tmp_path, "p/2", 1.0, algo="admm")
    (block,), _ = blocks(catalogue(tmp_path), "algo", ("psnr", "seconds"))
    lines = {line[0]: line for line in block.lines[1:]}
    assert lines["pgd"][1].endswith(" †") and not lines["pgd"][2].endswith("†")
    assert not lines["admm"][1].endswith("†") and "† stopped, not converged" in block.title
    found = {r["algo"]: r for r in csv.DictReader(io.StringIO(written(block, "csv")))}
    assert (found["pgd"]["not converged"], found["admm"]["not converged"]) == ("1", "0")


@pytest.mark.parametrize("key", ["algoo", "tested_on"])
@pytest.mark.parametrize("names", [("psnr",), ("seconds", "memory")])
def test_a_key_that_no_run_has_is_refused(runs, key, names):
    with pytest.raises(ConfigError, match=f"No finished run has {key} and {', '.join(names)}"):
        blocks(catalogue(runs), key, names)
    with pytest.raises(ConfigError, match="No finished run has run and seconds"):
        blocks([], "run", ("seconds",))


def test_means_that_are_compared_are_of_the_same_images(tmp_path):
    """Images of known values: the run that lacks the worst image would win without it."""

    def own(values):
        return lambda row: replace(row, value=values.get(row.image, row.value))

    values = {f"{i}.png": 20.0 + i for i in range(12)}
    better = {name: value + 1 for name, value in values.items()}
    made(tmp_path, "p/1", 0.0, change=own(better))
    made(tmp_path, "p/2", 0.0, algo="admm", change=own(values | {"0.png": math.nan}))
    (block,), table = blocks(catalogue(tmp_path), "algo", ("psnr",))
    means = {line[0]: v[0].mean for line, v in zip(block.lines[1:], block.values, strict=True)}
    assert means == {"pgd": pytest.approx(27.0), "admm": pytest.approx(26.0)}
    assert all(v[0].images == 11 for v in block.values)
    assert table.left_out["psnr undefined for some run"] == ["0.png"]
    one, other = sorted(catalogue(tmp_path), key=lambda entry: entry.name)
    line = next(line for line in pairs(one, other) if line[0] == "blur (as trained), psnr")
    assert line[1:3] == ("27.00", "26.00") and float(line[3].split()[0]) == -1.0


ROBUST = (("matched", "0", 0.0), ("kernel_width", "0.2", -1.0))
LEVELS = (("blur", "as trained", 0.0), ("mask", "0.02", -1.0), ("blur", "sigma 0.01", -1.0))


def operators(width):
    return {"evaluation": {"operators": {"mask": {"width": width}, "blur": {"width": 1}}}}


@pytest.mark.parametrize(
    ("places", "one", "other", "kept"),
    [
        (ROBUST, noise(0.02), noise(0.05), set()),
        (ROBUST, noise(0.02), noise(0.02), {"matched", "kernel_width"}),
        (LEVELS, noise(0.02) | operators(3), noise(0.05) | operators(3), {"mask"}),
        (LEVELS, noise(0.02) | operators(3), noise(0.02) | operators(5), {"blur"}),
    ],
)
def test_pairs_are_of_equal_forward_models(tmp_path, places, one, other, kept):
    made(tmp_path, "p/1", 0.0, places=places, **one)
    made(tmp_path, "p/2", 1.0, places=places, **other)
    assert {line[0].partition(" ")[0] for line in pairs(*catalogue(tmp_path))} == kept


EXTRA = "torchmetrics.image.{}"


@pytest.mark.parametrize(
    ("target", "best"),
    [
        ("MultiScaleStructuralSimilarityIndexMeasure", "admm"),
        ("SpectralAngleMapper", "pgd"),
        ("NoSuchMetric", None),
        ("..os", None),
    ],
)
def test_the_best_of_a_further_metric_is_as_its_class_states(tmp_path, target, best):
    extra = {"metrics": {"extra": {"mine": {"_target_": EXTRA.format(target)}}}}

    def rename(row):
        return replace(row, metric="mine" if row.metric == "psnr" else row.metric)

    for name, shift, algo in (("p/1", 0.0, "pgd"), ("p/2", 1.0, "admm")):
        made(tmp_path, name, shift, algo=algo, change=rename, **extra)
    (block,), _ = blocks(catalogue(tmp_path), "algo", ("mine",))
    bold = [line[0] for line in block.lines[1:] if isinstance(line[1], Bold)]
    assert bold == ([best] if best else [])
