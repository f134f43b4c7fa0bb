"""One bad run among others: the report names it, shows the others, and stays bounded."""

import json
import re
import shlex

import numpy as np
import pytest
import torch
from markupsafe import Markup

from tests.results.test_page import Elements, evaluated, read, undrawn
from tests.runs.made import sealed
from unfold.cli.sweeps import sweep
from unfold.evaluation import figures, shown
from unfold.evaluation.base import Condition, Shown
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import NoNoise
from unfold.results import page as pages
from unfold.results.page import page
from unfold.runs import files
from unfold.runs.status import Outcome

__all__ = ["undrawn"]


def pictured(path, **arrays):
    np.savez_compressed(path / "evaluation/shown.npz", **arrays)


def rows_of(path, old, new):
    file = path / "evaluation/rows.csv"
    file.write_text(file.read_text().replace(old, new))


def provenance(path, **changed):
    file = path / "provenance.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


GRAY, COLOUR = np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8)

FAULTS = {
    "long cell": lambda p: (p / "metrics.csv").write_text(f"step,train/loss\n1,{'9' * 200_000}\n"),
    "huge step": lambda p: (p / "metrics.csv").write_text(f"step,train/loss\n{'9' * 400},1\n"),
    "without ours": lambda p: pictured(p, **{"0_truth": GRAY}),
    "colour error": lambda p: pictured(p, **{"0_ours": GRAY, "0_error": COLOUR}),
    "empty picture": lambda p: pictured(p, **{"0_ours": GRAY[:0]}),
    "overrides": lambda p: provenance(p, overrides=3),
    "packages": lambda p: provenance(p, packages={"torch": {}}, seed=[], data={}),
    "typed overrides": lambda p: files.write_yaml(p / "overrides.yaml", 3),
    "huge count": lambda p: rows_of(p, ",5,", f",{'9' * 400},"),
    "huge value": lambda p: rows_of(p, ",28.0", ",1.5e308"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_run_does_not_hide_the_others(tmp_path, fault, request):
    if fault != "huge step":  # only drawing fails of it
        request.getfixturevalue("undrawn")
    good, bad = evaluated(tmp_path, "pgd/good", count=1), evaluated(tmp_path, "pgd/bad", count=1)
    FAULTS[fault](bad)
    sealed(bad)
    text = Elements(page([read(bad), read(good)])).words
    assert "pgd/good" in text and "30" in text and "Pictures" in text
    if fault not in ("overrides", "packages"):  # nothing shows them
        assert re.search(
            r"pgd/bad: .*?\w", text.partition("What failed, is")[2].partition("Scores")[0]
        )


def test_what_no_reader_foresees_is_a_note_too(tmp_path, monkeypatch, undrawn):
    paths = [evaluated(tmp_path, f"pgd/{name}", count=1) for name in ("good", "bad")]
    draw = pages.groups

    def fails(runs):
        if any(entry.name == "pgd/bad" and rows for entry, rows in runs):
            raise ZeroDivisionError("unforeseen")
        return draw(runs)

    monkeypatch.setattr(pages, "groups", fails)
    words = Elements(page([read(p) for p in paths])).words
    assert re.search(r"pgd/bad: damaged, .*unforeseen", words) and "pgd/good" in words


def test_a_finished_sweep_does_not_fail_for_its_report(tmp_path, monkeypatch, capsys):
    runs = [evaluated(tmp_path, f"pgd/{i}", seed=i) for i in range(2)]
    jobs = [sweep.Entry((f"seed={i}",), Outcome(r, {}, False), None) for i, r in enumerate(runs)]
    monkeypatch.setattr(pages, "page", lambda *given: [][0])
    assert sweep.conclude(jobs, "validation/psnr") == jobs
    assert re.search(r"no report: .*index", capsys.readouterr().out)


@pytest.mark.parametrize("file", ["cost.json", "shown.json", "shown.npz", "../metrics.csv"])
@pytest.mark.parametrize("fault", ["edited", "deleted"])
def test_files_of_tables_and_reports_are_compared_with_the_seal(tmp_path, file, fault):
    path = evaluated(tmp_path, "pgd/a")
    place = (path / "evaluation" / file).resolve()
    if not place.exists():
        place.write_text('{"seconds": 2.5}')
        sealed(path)
    assert read(path).state == "finished"
    place.unlink() if fault == "deleted" else place.write_bytes(place.read_bytes() + b" ")
    entry = read(path)
    assert entry.state == "damaged" and place.name in entry.status.reason


@pytest.mark.parametrize(
    "cost", ['{"seconds": "fast"}', '{"memory": [1]}', "3", '{"memory": 1e999}']
)
def test_costs_are_numbers(tmp_path, cost):
    path = evaluated(tmp_path, "pgd/a")
    (path / "evaluation/cost.json").write_text(cost)
    entry = read(sealed(path))
    assert entry.state == "damaged" and "cost.json" in entry.status.reason


def test_pictures_that_unfold_to_much_are_refused_before_they_are_read(
    tmp_path, undrawn, monkeypatch
):
    path = evaluated(tmp_path, "pgd/a", count=1)
    pictured(path, **{"0_ours": GRAY, "more": np.zeros(2**26, np.uint8)})
    monkeypatch.setattr(shown, "read_arrays", lambda file: pytest.fail("it was read"))
    words = Elements(page([read(sealed(path))])).words
    assert re.search(r"shown\.npz: cannot be shown \(.*67108\d+", words)
    (path / "evaluation/shown.npz").write_bytes(bytes(2**24 + 1))
    assert "16777217 bytes" in Elements(page([read(sealed(path))])).words


def test_panels_and_points_are_bounded(tmp_path, monkeypatch):
    path = evaluated(tmp_path, "pgd/a", count=0)
    file = path / "evaluation/shown.json"
    numbers = json.loads(file.read_text())
    numbers["parameters"] = {f"p{i}.{'x' * 400}": [0.5] * 3000 for i in range(300)}
    numbers["traces"][0] |= {"residual": [[k, 0.1] for k in range(30_000)], "name": "x" * 10**5}
    file.write_text(json.dumps(numbers))
    drawn = []
    monkeypatch.setattr(pages, "_svg", lambda figure: drawn.append(figure) or "data:image/")
    text = page([read(sealed(path))])
    axes = [axis for figure in drawn for axis in figure.axes]
    assert len(axes) < 40 and len(text) < 500_000 and "276 parameters are not shown" in text
    assert max(len(line.get_xdata()) for axis in axes for line in axis.lines) <= pages.POINTS


def command_in(text):
    return str(Markup(re.search(r"<pre><code>(.*?)</code>", text, re.DOTALL)[1]).unescape())


def test_the_command_is_quoted_as_a_shell_reads_it(tmp_path, undrawn):
    path = evaluated(tmp_path, "pgd/a")
    overrides = ["seed=1", "algo.stepsize=interval(0.1, 1)", "x=$(touch PWNED)", "note='a \"b\"'"]
    files.write_yaml(path / "overrides.yaml", overrides)
    provenance(path, folders={"/home/a b/options": {"algo/mine.yaml": "1"}}, overrides=["other"])
    command = command_in(page([read(sealed(path))]))
    expected = ["python", "train.py", "--config-dir=/home/a b/options", *overrides]
    assert shlex.split(command) == expected and "'x=$(touch PWNED)'" in command


def test_a_command_with_control_characters_is_not_shown(tmp_path, undrawn):
    path = evaluated(tmp_path, "pgd/a")
    files.write_yaml(path / "overrides.yaml", ["seed=1", "x=\x1b[201~\nrm"])
    text = page([read(sealed(path))])
    assert "<pre>" not in text and "control characters" in text and "\x1b" not in text


@pytest.mark.parametrize(("method", "words"), [("tv", "total variation"), ("cg_sense", "cg sense")])
def test_the_baseline_has_its_own_name(tmp_path, method, words, undrawn, monkeypatch):
    image = torch.rand(1, 16, 16)
    condition = Condition("blur", "0.02", Denoising(NoNoise()))
    own = (condition, "one.png", image, image, True, image, method, image, ("", ""), (20.0, 30.0))
    view = shown.views(Shown(*own))
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    figures.gallery([view], tmp_path / "gallery.png")
    assert words in [axis.get_title() for axis in drawn[0].axes]
    path = evaluated(tmp_path, "pgd/a")
    file = path / "evaluation/shown.json"
    numbers = json.loads(file.read_text()) | {
        "examples": shown.write_pictures(path / "evaluation", [view])
    }
    file.write_text(json.dumps(numbers))
    options = re.findall(r"<option value=.*?>(.*?)</option>", page([read(sealed(path))]))
    assert [one for one in options if one.startswith(f"{words} 20.00 dB")]
