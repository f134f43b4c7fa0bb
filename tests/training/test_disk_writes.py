"""The one way in which files reach the disk: flushed, put in place, and the place flushed too."""

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from unfold.disk import SPARE, DiskFullError, write_bytes
from unfold.errors import RunError
from unfold.runs.files import write_json
from unfold.training.checkpoints.weights import save_weights, write_checkpoint
from unfold.training.loggers.local import Curves


def curves_anew(folder):
    curves = Curves(folder / "metrics.csv")
    curves.log_metrics({"loss": 1.0}, 0)
    curves.flush()


class Usage(NamedTuple):
    """Of a disk, in bytes."""

    free: int
    total: int = 10**12


WRITERS = {
    "status": lambda folder: write_json(folder / "status.json", {"state": "running"}),
    "state": lambda folder: write_checkpoint({"x": torch.ones(3)}, folder / "last.ckpt"),
    "weights": lambda folder: save_weights(nn.Linear(2, 2), folder),
    "curves": curves_anew,
}
"""Everything that a run replaces."""


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_files_are_flushed_before_the_rename_and_folders_after(tmp_path, monkeypatch, write):
    done, flush, replace = [], os.fsync, Path.replace

    def fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if is_folder else "content")
        flush(descriptor)

    def named(path, target):
        done.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", named)
    write(tmp_path)
    assert done == ["content", "name", "folder"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_file_permissions_follow_the_umask(tmp_path, write):
    before = os.umask(0o027)
    try:
        write(tmp_path)
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_disk_space_is_checked_before_a_large_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    monkeypatch.setattr("unfold.disk.shutil.disk_usage", lambda _: Usage(SPARE + 10))
    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", None)  # nothing is written
        with pytest.raises(DiskFullError, match="a cannot be written: No space left on device"):
            write_bytes(path, b"x" * (SPARE + 1))
    assert path.read_bytes() == b"old"


def test_only_a_full_disk_is_reported_as_full(tmp_path, monkeypatch):
    def refused(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(RunError, match="Input/output error") as caught:
        write_bytes(tmp_path / "a", b"x")
    assert not isinstance(caught.value, DiskFullError)


def test_rows_are_appended_once_the_disk_has_space(tmp_path, monkeypatch):
    curves = Curves(tmp_path / "metrics.csv")
    for step in range(2):
        curves.log_metrics({"loss": float(step)}, step)
    curves.flush()
    opened = Path.open

    def half(path, mode="r", **more):
        file = opened(path, mode, **more)
        if mode == "ab":
            file.write(b"2,")
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file

    with monkeypatch.context() as full:
        full.setattr(Path, "open", half)
        for step in (2, 3, 4):
            curves.log_metrics({"loss": float(step)}, step)
            curves.save()
        with pytest.raises(DiskFullError):
            curves.flush()
        assert curves.path.read_text() == "step,loss\n0,0.0\n1,1.0\n"
    curves.flush()
    rows = "".join(f"{step},{step}.0\n" for step in range(5))
    assert curves.path.read_text() == f"step,loss\n{rows}"
