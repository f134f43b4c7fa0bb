"""Two processes train as one does with the same global batch.

Those of one machine are a job of a sweep, which is an ordinary run in its own processes.
"""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The runs directory, and the log of the one run in it, of one process."""
    runs = tmp_path_factory.mktemp("alone")
    wait(start(runs))
    (log,) = runs.rglob("metrics.csv")
    return runs, log


def losses(log):
    """The loss of every step."""
    rows = csv.DictReader(log.read_text().splitlines())
    return [float(row["train/loss"]) for row in rows if row["train/loss"]]


def start(runs, *overrides, command=(sys.executable, str(ROOT / "train.py"))):
    line = [*command, *SMALL, *overrides, f"runs_dir={runs}"]
    given = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=given)


def wait(process):
    said = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, said
    return said


def test_two_processes_of_a_sweep_have_the_losses_of_one(alone):
    """In float32: the one computes the batch in the parts of the two, so a rounding is the same."""
    runs, log = alone
    said = wait(start(runs, "-m", "trainer=default,ddp_cpu"))
    assert said.count("finished before") == 1, "of the two jobs, one is the run of one process"
    (other,) = set(runs.rglob("metrics.csv")) - {log}
    one, two = losses(log), losses(other)
    assert len(one) == len(two) == 100 and one[-1] < one[0]
    assert max(abs(a - b) / a for a, b in zip(one, two, strict=True)) < 1e-6


def test_two_processes_of_torchrun_have_the_losses_of_one(tmp_path, alone):
    """Rank zero claims the run directory; the other rank follows."""
    options = ("--nproc-per-node=2", f"--master-port={free_port()}")
    overrides = ("trainer=ddp_cpu", "trainer.threads=1")
    command = [sys.executable, "-m", "torch.distributed.run", *options, str(ROOT / "train.py")]
    said = wait(start(tmp_path, *overrides, command=command))
    assert said.count("finished ") == 1, "only rank zero reports"
    (other,) = tmp_path.rglob("metrics.csv")
    pairs = zip(losses(alone[1]), losses(other), strict=True)
    assert max(abs(a - b) / a for a, b in pairs) < 1e-6
    assert "nothing to compute" in wait(start(tmp_path, *overrides, command=command))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
