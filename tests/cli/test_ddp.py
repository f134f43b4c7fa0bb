"""Two processes train as one does with the same global batch."""

import csv
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SMALL = [
    "evaluation=none",
    "data.crop=16",
    "data.batch_size=4",
    "prior.weights=null",
    "prior.denoiser.depth=2",
    "prior.denoiser.width=8",
    "model.iterations=2",
    "trainer.max_steps=100",
    "trainer.log_every=1",
    "trainer.progress=false",
    "trainer.validate_every=1000",
]


def losses(runs, *words):
    """The loss of every step of a training in processes of its own."""
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, *words, f"runs_dir={runs}"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    (log,) = runs.rglob("metrics.csv")
    rows = csv.DictReader(log.read_text().splitlines())
    return [float(row["train/loss"]) for row in rows if row["train/loss"]]


def test_two_processes_have_the_losses_of_one(tmp_path):
    """In float32: the one computes the batch in the parts of the two, so a rounding is the same."""
    one = losses(tmp_path / "one")
    two = losses(tmp_path / "two", "trainer=ddp_cpu", "trainer.devices=2")
    assert len(one) == len(two) == 100 and one[-1] < one[0]
    assert max(abs(a - b) / a for a, b in zip(one, two, strict=True)) < 1e-6
