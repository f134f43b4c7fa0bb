"""The report of runs: everything on one page, whatever is in the run directories."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image as Pillow
from scipy.stats import bootstrap

from tests.runs.made import make_run, sealed
from unfold.cli.report import write_page
from unfold.cli.sweeps.sweep import Entry, conclude
from unfold.errors import ConfigError, DataError, SweepError
from unfold.evaluation import statistics
from unfold.evaluation.records import Row, read_rows, write_rows
from unfold.evaluation.shown import VIEWS, Views, read_pictures, write_pictures
from unfold.results.page import page
from unfold.results.scores import groups
from unfold.runs.catalogue import read_entry
from unfold.runs.status import Outcome

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"{{ 7*7 }}$"


class Elements(HTMLParser):
    """Every element with its attributes, and all text outside of script and style."""

    def __init__(self, text):
        super().__init__()
        self.found, self.words, self.inside = [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        self.words += data if self.inside not in ("script", "style") else ""

    def of(self, *names):
        return [attributes for tag, attributes in self.found if tag in names]


def evaluated(root, name, *, seed=0, images="aaaaaaaa", side=16, count=2, name_of="one.png", **own):
    """A finished run with rows, curves, pictures and the numbers of its figures."""
    path = make_run(root, name, seed=seed, scores={"test/psnr": 30.0 + seed}, **own)
    folder = path / "evaluation"
    folder.mkdir()
    rows = [
        Row(name, "blur", tested, noise, method, 5, "", f"{i}.png", "psnr", value + i + seed)
        for tested, noise in (("blur", "as trained"), ("mask", "0.02"))
        for method, value in (("tv", 27.0), ("ours", 28.0))
        for i in range(6)
    ]
    write_rows(folder / "rows.csv", rows)
    draw = np.random.default_rng(seed).integers
    views = [
        Views(
            "blur",
            "0.02",
            name_of,
            {"ours": "28 dB"},
            {n: draw(0, 256, (side, side), np.uint8) for n in VIEWS},
        )
        for _ in range(count)
    ]
    numbers = {
        "examples": write_pictures(folder, views),
        "parameters": {"algo.stepsize": [0.987654], "prior.sigma": [0.5, 0.25]},
        "traces": [
            {
                "name": "one.png",
                "psnr": [[0, 20.0], [1, 25.0]],
                "residual": [[1, 0.1], [2, 1e-3]],
                "measure": "relative change",
                "mark": "",
            }
        ],
        "tolerance": 1e-3,
    }
    (folder / "shown.json").write_text(json.dumps(numbers))
    (path / "metrics.csv").write_text(
        "step,train/loss,validation/psnr,train/iterations\n9,0.5,,12\n10,,25.5,\n"
    )
    origin = json.loads((path / "provenance.json").read_text()) | {
        "pixels": {"test": images},
        "overrides": [f"name={name_of}"],
    }
    (path / "provenance.json").write_text(json.dumps(origin))
    return sealed(path)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without charts, which take longest."""
    monkeypatch.setattr(
        "unfold.results.page._svg", lambda figure: plt.close(figure) or "data:image/"
    )


def read(path):
    return read_entry(path, f"{path.parent.name}/{path.name}")


def test_a_hostile_run_directory_is_text(tmp_path):
    path = evaluated(tmp_path, "pgd/a", name_of=HOSTILE, note=HOSTILE)
    other = evaluated(tmp_path, "pgd/b", seed=1, note="$x$")
    one = read_entry(path, HOSTILE)
    text = page([one, read(other)])
    found = Elements(text)
    assert len(found.of("script")) == 1 and HOSTILE in found.words and "49" not in HOSTILE
    assert all(a["src"].startswith("data:image/") for a in found.of("img"))
    assert not any(key.startswith("on") for _, a in found.found for key in a)
    assert not found.of("link", "iframe", "object", "embed")
    policy = next(a["content"] for a in found.of("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_what_is_embedded_is_what_was_kept(tmp_path, undrawn):
    path = evaluated(tmp_path, "pgd/a")
    kept = np.load(path / "evaluation/shown.npz")
    after = [a for a in Elements(page([read(path)])).of("img") if a.get("class") == "after"]
    for i, one in enumerate(after):
        content = base64.b64decode(one["src"].partition(",")[2])
        with Pillow.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG"
            assert np.array_equal(np.asarray(picture), kept[f"{i}_ours"])
    assert len(after) == 2


def test_damaged_and_unfinished_runs_are_named_and_hide_no_other(tmp_path, undrawn):
    good = evaluated(tmp_path, "pgd/good")
    edited, broken = evaluated(tmp_path, "pgd/edited"), evaluated(tmp_path, "pgd/broken")
    (edited / "results.json").write_text('{"test/psnr": 54321}')
    (broken / "evaluation/shown.npz").write_bytes(b"PK no archive")
    sealed(broken)
    failed = make_run(tmp_path, "pgd/failed", state="failed")
    text = Elements(page([read(p) for p in (edited, failed, broken, good)])).words
    assert re.search(r"pgd/edited: damaged, .*results\.json was changed", text)
    assert "pgd/failed: failed" in text and "shown.npz: cannot be shown" in text
    assert text.count("How to repeat it") == 3 and "54321" not in text
    for name in ("pgd/good", "pgd/broken"):
        assert name in text


@pytest.mark.parametrize(
    "numbers",
    [
        {"traces": 3, "parameters": [], "examples": [], "tolerance": None},
        {"traces": [{"name": 1}], "parameters": {"a": "b"}, "examples": 4},
        {"traces": [], "parameters": {"a": [None, "x"]}, "examples": [{}]},
        {"parameters": {"a": [[1], [2]], "b": 3}, "tolerance": "x"},
    ],
)
def test_numbers_of_another_kind_are_a_note(tmp_path, numbers, undrawn):
    path = evaluated(tmp_path, "pgd/a")
    (path / "evaluation/shown.json").write_text(json.dumps(numbers))
    sealed(path)
    text = Elements(page([read(path)])).words
    assert "How to repeat it" in text and "PSNR" in text


@pytest.mark.parametrize("array", [np.zeros((300, 300), np.uint8), np.zeros((4, 4)), "pickle"])
def test_what_is_no_small_picture_is_refused(tmp_path, array):
    folder = evaluated(tmp_path, "pgd/a") / "evaluation"
    stored = json.loads((folder / "shown.json").read_text())["examples"]
    kind = np.array([{}], dtype=object) if isinstance(array, str) else array
    np.savez(folder / "shown.npz", **{"0_ours": kind})
    with pytest.raises(DataError, match=r"shown\.npz: cannot be shown"):
        read_pictures(folder, stored)


def test_runs_of_other_images_or_ranges_are_side_by_side(tmp_path, undrawn):
    paths = [
        evaluated(tmp_path, "pgd/a"),
        evaluated(tmp_path, "pgd/b", seed=1),
        evaluated(tmp_path, "pgd/c", images="bbbbbbbb"),
        evaluated(tmp_path, "pgd/d", metrics={"data_range": 255.0}),
    ]
    together = Elements(page([read(p) for p in paths]))
    tables = [a for a in together.of("table") if a.get("class") == "heat"]
    assert len(tables) == 3 and "do not compare" in together.words
    assert "test images bbbbbbbb" in together.words and "metrics.data_range" in together.words
    alike = Elements(page([read(p) for p in paths[:2]]))
    assert len([a for a in alike.of("table") if a.get("class") == "heat"]) == 1
    assert "+1.00 [1.00, 1.00]" in alike.words, "the difference of every image is 1"


def test_a_tied_scalar_is_a_number_and_the_page_has_every_part(tmp_path):
    found = Elements(page([read(evaluated(tmp_path, "pgd/a", model={"tol": 1e-3}))]))
    charts = {a["alt"] for a in found.of("img") if a.get("class") == "chart"}
    assert "0.9877" in found.words and any("parameters" in alt for alt in charts)
    assert len(charts) == 3 and "commit abc" in found.words
    svg = next(a["src"] for a in found.of("img") if "residual" in a.get("alt", ""))
    drawn = base64.b64decode(svg.partition(",")[2]).decode()
    assert "tolerance 0.001" in drawn and "PSNR / dB" in drawn and "0.9877" not in drawn


def grouped(*paths):
    return groups([(read(p), read_rows(p / "evaluation/rows.csv")) for p in paths])


def test_intervals_are_those_of_scipy_and_of_every_table(tmp_path):
    values = np.random.default_rng(4).normal(30, 2, 40)
    rows = [
        Row("a", "blur", "blur", "as trained", "ours", 5, "", f"{i}", "psnr", float(v))
        for i, v in enumerate(values)
    ]
    path = evaluated(tmp_path, "pgd/a")
    write_rows(path / "evaluation/rows.csv", rows)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    text = grouped(sealed(path))[0].table[0][2]
    low, high = map(float, re.findall(r"[\d.]+", text))
    assert abs(low - theirs.confidence_interval.low) < 0.06
    assert abs(high - theirs.confidence_interval.high) < 0.06
    ours = statistics.bootstrap(values.tolist())
    assert text == f"[{ours.low:.2f}, {ours.high:.2f}]", "a run has one interval, wherever it is"


@pytest.mark.parametrize("changed", [{"noise": {"sigma": 0.05}}, {"kernel": {"size": 9}}, {}])
def test_runs_trained_on_other_problems_have_no_difference(tmp_path, changed):
    physics = {"noise": {"sigma": 0.02}, "kernel": {"size": 7}}
    paths = [
        evaluated(tmp_path, f"pgd/{i}", seed=i, physics={**physics, **(changed if i else {})})
        for i in range(2)
    ]
    (group,) = grouped(*paths)
    assert group.table[1][-1] == ("-" if changed else "+1.00 [1.00, 1.00]")
    assert len(group.columns) == 3, "what both were tested on is side by side"


def test_three_runs_with_the_largest_pictures_fit(tmp_path, undrawn):
    paths = [evaluated(tmp_path, f"pgd/{i}", seed=i, side=256, count=12) for i in range(3)]
    text = page([read(p) for p in paths])
    assert len(text.encode()) < 5e6 and "pictures do not fit" in text
    assert text.count('class="after"') >= 3


def test_the_command_takes_names_folders_and_patterns(tmp_path, monkeypatch, capsys, undrawn):
    monkeypatch.chdir(tmp_path)
    first = evaluated(tmp_path / "runs", "pgd-blur/a")
    evaluated(tmp_path / "runs", "pgd-mask/b", seed=1)
    for given, count in ((["pgd-blur/a"], 1), (["runs"], 2), (["*", "pgd-blur/a"], 2)):
        assert write_page([*given, "output=out/page.html"]) == 0
        assert f"{count} runs" in capsys.readouterr().out
    for given, match in (
        (["nothing"], "no such run"),
        (["runs", "output=page.pdf"], "FILE.html"),
        (["runs", f"output={first}/page.html"], "a finished run, which its seal"),
        ([], "needs one run"),
    ):
        with pytest.raises(ConfigError, match=match):
            write_page(given)


def test_a_sweep_ends_with_a_page_that_names_its_failed_jobs(tmp_path, undrawn):
    runs = [evaluated(tmp_path, f"pgd/{i}", seed=i) for i in range(2)]
    jobs = [Entry((f"seed={i}",), Outcome(r, {}, False), None) for i, r in enumerate(runs)]
    with pytest.raises(SweepError, match="1 of 3"):
        conclude([*jobs, Entry(("seed=9",), None, "no <memory>")], "validation/psnr")
    words = Elements((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert "seed=9: no <memory>" in words and "pgd/1" in words
    assert not list(runs[0].glob("*.html"))


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("there is no chromium, with its chromedriver")
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def test_a_browser_opens_it_without_an_error_and_the_slider_moves(tmp_path, browser):
    paths = [evaluated(tmp_path, f"pgd/{i}", seed=i, name_of=HOSTILE) for i in range(2)]
    (tmp_path / "page.html").write_text(page([read(p) for p in paths]), encoding="utf-8")
    browser.get(f"file://{tmp_path}/page.html")
    script = browser.execute_script
    move = (
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event(arguments[2]));"
    )
    clip = "return getComputedStyle(document.querySelector('.after')).clipPath"
    assert "50%" in script(clip)
    script(move, "[data-slide]", 20, "input")
    assert "20%" in script(clip)
    zoom = "return getComputedStyle(document.querySelector('.after')).transform"
    script(move, "[data-zoom]", "4", "change")
    assert script(zoom).startswith("matrix(4,")
    before = "return document.querySelector('.before').src"
    first = script(before)
    script(move, "[data-choose]", "0", "change")
    assert script(before) != first
    broken = "return [...document.images].filter(i => i.naturalWidth == 0).length"
    assert script(broken) == 0 and browser.get_log("browser") == []
    for width in (1280, 400):
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert script("return document.documentElement.scrollWidth") <= width


def test_on_paper_labels_are_dark_and_no_table_is_cut(tmp_path, browser):
    """A4 of 718 px between its margins; a printer leaves out dark backgrounds."""
    paths = [evaluated(tmp_path, f"pgd/{i}", seed=i, images=f"{i}") for i in range(2)]
    (tmp_path / "page.html").write_text(page([read(p) for p in paths]), encoding="utf-8")
    browser.get(f"file://{tmp_path}/page.html")
    metrics = {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    assert browser.execute_script(style, ".tag", "color") == "rgb(0, 0, 0)"
    for hidden in (".controls", ".screen", "nav"):
        assert browser.execute_script(style, hidden, "display") == "none"
    right = "e.getBoundingClientRect().right"
    cut = f"return [...document.querySelectorAll('table')].filter(e => {right} > 718).length"
    card = "e.closest('.card').getBoundingClientRect().right"
    inside = f"return [...document.querySelectorAll('.card table')].every(e => {right} <= {card})"
    assert browser.execute_script(cut) == 0 and browser.execute_script(inside)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
