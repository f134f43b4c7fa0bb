"""Runs on measured data: trained, extended bit for bit, evaluated, with and without true images."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_extend import CONSTANT, made
from tests.data.test_kspace import brain, centred, coils
from unfold.cli.console import guarded
from unfold.cli.evaluate import evaluate_run
from unfold.cli.train import train
from unfold.evaluation import report, shown

LEAVE = ("data.crop", "data.batch_size", "data.crops_per_image", "evaluation")
SMALL = [word for word in CONSTANT if not word.startswith(LEAVE)] + ["data=kspace", "algo=hqs"]
MULTICOIL = ["physics=multicoil_mri", "data.maps=maps", "data.batch_size=2"]


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Seven files of two coils each; a folder of the same with a third of the columns missing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    maps = coils(2, 16, 16)
    kept = np.arange(16) % 3 != 1
    for i in range(7):
        k = centred(maps * brain(16, 16))
        for folder, part in (("full", k), ("part", k * kept)):
            Path(folder).mkdir(exist_ok=True)
            np.savez(f"{folder}/{i}.npz", kspace=part, maps=maps)
    return tmp_path


def test_measured_data_is_trained_on_extended_and_evaluated(scans, capsys, monkeypatch):
    words = [*SMALL, *MULTICOIL, "data.root=full"]
    short = made(*words, "trainer.max_steps=3", "evaluation=none")
    longer = made(f"extend={short.name}", "trainer.max_steps=6")
    whole = made(*words, "trainer.max_steps=6", "evaluation=none")
    for name in ("weights.safetensors", "metrics.csv"):
        assert (longer / name).read_bytes() == (whole / name).read_bytes(), name
    assert "measurements keep their own noise" in " ".join(capsys.readouterr().out.split())
    small = ["evaluation.tv.max_iterations=5", "evaluation.tv.search_iterations=5"]
    arguments = [f"run={whole}", "evaluation=across_operators", "evaluation.tv.count=3", *small]
    arguments.append("metrics.data_range=max")
    captions = []
    monkeypatch.setattr(report, "views", lambda one: captions.append(one) or shown.views(one))
    assert guarded(evaluate_run, arguments) == 0
    (rows,) = whole.glob("evaluations/*/evaluation/rows.csv")
    with rows.open() as file:
        found = list(csv.DictReader(file))
    assert {row["noise"] for row in found} == {"as measured"}
    assert {row["metric"] for row in found} == {"psnr", "ssim", "nmse"}
    assert {row["truth"] for row in found} == {"coil-combined complex image"}
    values = {(r["method"], r["image"]): float(r["value"]) for r in found if r["metric"] == "psnr"}
    for one in captions:
        assert one.psnr == (values["tv", one.name], values["ours", one.name])
        error = (one.ours.abs() - one.truth.abs()).square().mean()
        wanted = 10 * math.log10(float(one.truth.abs().max() ** 2 / error))
        assert one.psnr[1] == pytest.approx(wanted, rel=1e-5)
    assert captions
    text = (rows.parent / "methods.md").read_text()
    assert "compared with: coil-combined complex image." in text


def test_without_true_images_nothing_is_made_up(scans, capsys):
    words = [*SMALL, *MULTICOIL, "data.root=part", "physics.mask=data", "trainer.max_steps=2"]
    assert guarded(train, [*words, "evaluation=none"]) == 2
    assert "not all examples of the data have one" in " ".join(capsys.readouterr().err.split())
    small = ["evaluation.tv.max_iterations=5", "evaluation.tv.count=3"]
    run = made(*words, *small, "loss=splitting", "objective=validation/loss")
    rows = (run / "evaluation/rows.csv").read_text()
    assert "psnr" not in rows and "consistency" in rows
    assert "psnr" not in (run / "metrics.csv").read_text()


def test_one_scan_is_enough_for_an_evaluation(scans, capsys):
    run = made(*SMALL, *MULTICOIL, "data.root=full", "trainer.max_steps=2", "evaluation=none")
    small = ["evaluation=across_operators", "evaluation.tv.max_iterations=5"]
    only = ["data.root=null", "data.test_root=part/3.npz", "physics.mask=data"]
    assert guarded(evaluate_run, [f"run={run}", *only, *small]) == 0
    capsys.readouterr()
    assert guarded(train, [*SMALL, *MULTICOIL, "data.test_root=full/3.npz"]) == 3
    assert "no file for train; give data.root" in " ".join(capsys.readouterr().err.split())
