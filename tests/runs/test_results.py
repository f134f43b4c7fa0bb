"""Several figures of runs in one table: intervals, costs, pairs; only what compares."""

import csv
import io
import json

import numpy as np
import pytest

from tests.runs.made import make_run, sealed
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.errors import ConfigError
from unfold.evaluation.records import Row, write_rows
from unfold.runs import files
from unfold.runs.catalogue import catalogue
from unfold.runs.results import blocks, pairs, written
from unfold.runs.table import pivot

VALUES = ("psnr", "nmse", "parameters", "operator_calls", "seconds", "memory")


def made(root, name, shift, *, algo="pgd", sets="one", images=12, **config):
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
        Row(name, "blur", tested, "as trained", method, 5, "", image, metric, value)
        for tested, more in (("blur", 0.0), ("other", -5.0))
        for method, gain in (("tv", -1.0), ("ours", shift))
        for image, base in psnr.items()
        for metric, value in (("psnr", base + gain + more), ("nmse", 10 ** -(base + gain)))
    ]
    write_rows(folder / "rows.csv", rows)
    cost = {"parameters": 1200, "operator_calls": 12, "seconds": 0.5, "memory": 300}
    (folder / "cost.json").write_text(json.dumps(cost))
    return sealed(path)


@pytest.fixture
def runs(tmp_path):
    made(tmp_path, "p/1", 0.0)
    made(tmp_path, "p/2", 1.0, algo="admm")
    return tmp_path


def test_a_line_has_every_value_with_its_interval_and_the_best_is_bold(runs):
    (block,) = blocks(catalogue(runs), "algo", VALUES)
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
    assert [len(block.lines) for block in blocks(catalogue(runs), "run", ("psnr",))] in (
        [3, 2],
        [2, 3],
    )
    one, *_, three = sorted(catalogue(runs), key=lambda entry: entry.name)
    with pytest.raises(ConfigError, match="no images are compared: "):
        list(pairs(one, three))
    with pytest.raises(ConfigError, match="do not compare"):
        pivot(catalogue(runs), "algo", "physics", "test/psnr")


def test_seeds_are_averaged_image_by_image_and_few_images_have_a_dash(tmp_path):
    made(tmp_path, "p/1", 0.0)
    made(tmp_path, "p/2", 1.0)
    (block,) = blocks(catalogue(tmp_path), "algo", ("psnr",))
    assert len(block.lines) == 2 and block.values[0][0].images == 12
    made(tmp_path / "few", "p/1", 0.0, images=4)
    (block,) = blocks(catalogue(tmp_path / "few"), "algo", ("psnr",))
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
