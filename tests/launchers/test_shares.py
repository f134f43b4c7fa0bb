"""The share of this machine that a job gets: its own CPUs and GPUs."""

import sys

import pytest

from unfold.cli.sweeps.launch import take_launcher
from unfold.cli.sweeps.pool import run_jobs
from unfold.errors import ConfigError
from unfold.launchers import parallel
from unfold.launchers.parallel import Parallel, join_sweep, share_of, visible_gpus

PROGRAM = """
import os, sys
open(sys.argv[1], "a").write(" ".join(f"{key}={os.environ.get(key)}" for key in sys.argv[2:4]))
"""

NAMES = ("UNFOLD_CPUS", "CUDA_VISIBLE_DEVICES")


@pytest.fixture
def machine(monkeypatch):
    """Sets how many GPUs there are, and that there are four CPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    return lambda count: monkeypatch.setattr(parallel, "count_gpus", lambda: count)


def gpus_of(jobs, gpus=None):
    return [share_of(slot, jobs, gpus).get("CUDA_VISIBLE_DEVICES") for slot in range(jobs)]


def test_jobs_side_by_side_share_no_gpu(machine):
    machine(4)
    assert gpus_of(1) == ["0,1,2,3"]
    assert gpus_of(2) == ["0,1", "2,3"]
    assert gpus_of(3) == ["0", "1", "2"]
    assert gpus_of(2, 1) == ["0", "1"]
    assert gpus_of(6) == ["0", "1", "2", "3", "0", "1"], "more jobs than GPUs share them"
    assert gpus_of(2, 0) == ["", ""]


def test_without_a_gpu_nothing_is_set(machine):
    machine(0)
    assert gpus_of(3) == gpus_of(3, 0) == [None] * 3


def test_the_gpus_are_those_that_the_sweep_itself_may_use(machine, monkeypatch):
    machine(8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7f,2,-1,3")
    assert visible_gpus() == ["5", "GPU-7f", "2"], "CUDA reads no further than -1"
    assert gpus_of(2) == ["5", "GPU-7f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_of(2) == [None, None]


def test_more_gpus_than_there_are_is_refused_at_once(machine):
    arguments = ["hydra/launcher=parallel", "hydra.launcher.jobs=3"]
    machine(2)
    with pytest.raises(
        ConfigError, match=r"launcher\.gpus = 1: 3 jobs at a time need 3 GPUs.*are 2 \(0, 1\)\. Low"
    ):
        take_launcher([*arguments, "hydra.launcher.gpus=1"])
    assert take_launcher(arguments)[0].gpus is None
    machine(0)
    with pytest.raises(ConfigError, match=r"need 3 GPUs, and there are none\."):
        take_launcher([*arguments, "hydra.launcher.gpus=1"])
    with pytest.raises(
        ConfigError, match=r"launcher\.gpus = -1: must be a whole number of at least 0"
    ):
        take_launcher([*arguments, "hydra.launcher.gpus=-1"])


def test_the_jobs_see_their_share(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    machine(0)
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "program.py")])
    commands = [[str(tmp_path / f"notes{i}"), *NAMES] for i in range(2)]
    run_jobs(commands, Parallel(jobs=2), lambda number, job: None, tmp_path)
    seen = {(tmp_path / f"notes{i}").read_text() for i in range(2)}
    assert seen == {
        "UNFOLD_CPUS=0,1 CUDA_VISIBLE_DEVICES=4",
        "UNFOLD_CPUS=2,3 CUDA_VISIBLE_DEVICES=5",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [("UNFOLD_CPUS", "abc"), ("UNFOLD_CPUS", "9999"), ("UNFOLD_CPUS", "-1"), ("UNFOLD_SWEEP", "x")],
)
def test_a_share_that_cannot_be_taken_is_refused(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=rf"{name} = '?{text}"):
        join_sweep()
