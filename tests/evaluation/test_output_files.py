"""What an evaluation and a training leave behind is whole, or what was there before."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot as plt

from tests.evaluation.test_across_operators import context
from unfold.disk import DiskFullError
from unfold.errors import ConfigError
from unfold.evaluation.figures import save
from unfold.evaluation.records import Row, write_rows
from unfold.evaluation.report import write_report
from unfold.evaluation.single_image import (
    PICTURES,
    read_measurement,
    suffix_of,
    write_image,
    write_measurement,
)
from unfold.training.callbacks import save_picture
from unfold.training.loggers.trackers import Tracked

ROOT = Path(__file__).parents[2] / "unfold"


def rows(value):
    start = ("run", "blur", "blur", "0.02")
    return [Row(*start, method, 3, "", "a.png", "psnr", value) for method in ("ours", "tv")]


def figure(path, value):
    drawn, axis = plt.subplots()
    axis.plot([0, value])
    save(drawn, path)


class Note(Tracked):
    """A tracker of nothing."""

    def begin(self, run):
        return "name"

    def send(self, metrics, step):
        """Nowhere."""

    def send_picture(self, path, step):
        """Nowhere."""


def note(path, value):
    Note(path.parent, path.stem).log_metrics({"loss": value}, int(value))


def picture(value):
    return torch.full((1, 8, 8), value / 4)


WRITERS = {
    "rows.csv": lambda path, value: write_rows(path, rows(value)),
    "figure.png": figure,
    "image.png": lambda path, value: write_image(path, picture(value)),
    "image.npy": lambda path, value: write_image(path, picture(value)),
    "y.npz": lambda path, value: write_measurement(path, picture(value)[0], (1, 8, 8)),
    "picture.png": lambda path, value: save_picture(picture(value), path),
    "mlflow.json": note,
}


def full(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_keeps_the_previous_file(tmp_path, monkeypatch, name):
    path, write = tmp_path / name, WRITERS[name]
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError, match=re.escape(name)):
            write(path, 1.0)
        assert not list(tmp_path.glob("*")), "none, and no half"
    write(path, 2.0)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        write(path, 3.0)
    kept = {one.suffix for one in tmp_path.iterdir()}  # a figure is written as PDF, too
    assert path.read_bytes() == before and kept <= {path.suffix, ".pdf"}


def report(folder):
    write_report(context(folder), rows(30.0), [], 0)


def test_a_failed_write_leaves_complete_files_only(tmp_path, monkeypatch):
    report(tmp_path / "whole")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.*")}
    flush, left = os.fsync, [0]

    def soon_full(descriptor):
        left[0] -= 1
        return full(descriptor) if left[0] < 0 else flush(descriptor)

    monkeypatch.setattr(os, "fsync", soon_full)
    for number in range(len(whole)):
        left[0] = 2 * number  # the file, then its folder
        folder = tmp_path / str(number)
        with pytest.raises(DiskFullError):
            report(folder)
        written = {path.name: path.read_bytes() for path in folder.rglob("*.*")}
        assert len(written) == number and written.items() <= whole.items()


def test_nothing_writes_a_file_in_place():
    """Tables of steps are appended to, and cut back; all else goes through `unfold.disk`."""
    in_place = re.compile(r"""\.write_(text|bytes)\(|open\(["'][wx]|savefig\(path|json\.dump\(""")
    for folder in ("evaluation", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not in_place.search(path.read_text(encoding="utf-8")), path


def test_an_unknown_image_format_is_named():
    with pytest.raises(ConfigError, match=r"output = a.gif: no such kind.*Allowed: .bmp, .jpeg"):
        suffix_of(Path("a.gif"), PICTURES)
    for name in ("a.PNG", "a.npy", "a.tiff"):
        suffix_of(Path(name), PICTURES)


@pytest.mark.parametrize("ending", ["npy", "NPY", "png", "PNG", "Tif", "bmp"])
def test_suffixes_are_case_insensitive(tmp_path, ending):
    path, image = tmp_path / f"a.{ending}", picture(2.0)
    suffix_of(path, PICTURES)
    write_image(path, image)
    assert torch.allclose(read_measurement(path, 1), image, atol=0.5 / 255)
    if ending.lower() == "npy":
        assert torch.equal(read_measurement(path, 1), image)


def test_the_tracker_file_is_json(tmp_path):
    note(tmp_path / "mlflow.json", 2.0)
    assert json.loads((tmp_path / "mlflow.json").read_text())["step"] == 2
