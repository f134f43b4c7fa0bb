"""Two processes, on one machine or on two, train as one does with the same global batch.

Those of one machine are a job of a sweep, which is an ordinary run in processes of its own.
"""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from unfold.training.checkpoints.weights import read_weights

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


def weights(log):
    """The tensors that a run left."""
    return read_weights(log.parent)


def start(runs, *words, **environment):
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, *words, f"runs_dir={runs}"]
    given = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=given)


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


def test_two_machines_have_the_losses_of_one(tmp_path, alone):
    """Here both are this one; the first writes the run, and the other says nothing of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("trainer=ddp_cpu", "trainer.devices=1", "trainer.nodes=2", "trainer.threads=1")
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    both = [start(tmp_path, *words, **where, NODE_RANK=str(i)) for i in range(2)]
    said = [wait(process) for process in both]
    assert "finished" in said[0] and "finished" not in said[1]
    (other,) = tmp_path.rglob("metrics.csv")
    pairs = zip(losses(alone[1]), losses(other), strict=True)
    assert max(abs(a - b) / a for a, b in pairs) < 1e-6


def test_networks_in_pieces_have_the_losses_of_one_and_go_on_after_a_signal(tmp_path, alone):
    """The state of the signal is in one piece; so are the weights at the end."""
    words = ("trainer=fsdp", "trainer.accelerator=cpu")
    process = start(tmp_path, *words)
    until = time.monotonic() + 120
    while not any(len(log.read_text().splitlines()) > 30 for log in tmp_path.rglob("metrics.csv")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert "continued from last.ckpt" in wait(start(tmp_path, *words))
    (other,) = tmp_path.rglob("metrics.csv")
    one, two = losses(alone[1]), losses(other)
    assert len(one) == len(two) == 100
    assert max(abs(a - b) / a for a, b in zip(one, two, strict=True)) < 1e-5
    mine, theirs = weights(alone[1]), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(t, theirs[name], atol=1e-5) for name, t in mine.items())
