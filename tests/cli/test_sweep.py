"""Sweeps as processes: some at a time; a failure stops no other, and they resume."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unfold.cli.console import guarded
from unfold.cli.sweeps.pool import run_jobs
from unfold.cli.train import train
from unfold.errors import PreemptedError
from unfold.launchers.parallel import Parallel, slots

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, os, signal, sys, time
word = sys.argv[1]
note = sys.argv[2]
open(note, "a").write(f"{word} {os.environ.get('UNFOLD_CPUS')} begins\\n")
if word == "fails":
    sys.stderr.write("noise\\nerror: the loss is nan.\\n"); sys.exit(4)
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "waits":
    signal.signal(signal.SIGTERM, lambda *a: (open(note, "a").write("saved\\n"), sys.exit(143)))
    time.sleep(60)
time.sleep(0.3)
content = {"directory": "there", "scores": {"best validation/psnr": 30.0}, "repeated": False}
json.dump(content, open(os.environ["UNFOLD_OUTCOME"], "w"))
open(note, "a").write(f"{word} ends\\n")
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program in the place of the training; gives the file of its notes."""
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "program.py")])
    return tmp_path / "notes"


def run(program, arguments, jobs):
    found = {}
    commands = [[word, str(program)] for word in arguments]
    run_jobs(commands, Parallel(jobs), lambda n, job: found.update({n: job}))
    return found


def test_a_job_that_fails_or_is_killed_costs_no_other(program, monkeypatch):
    errors = {}

    def ended(number, job):
        errors[number] = None if job.code == 0 else job.error
        if job.code == 0:
            assert job.outcome.scores == {"best validation/psnr": 30.0}

    arguments = ["first", "fails", "killed", "last"]
    run_jobs([[word, str(program)] for word in arguments], Parallel(2), ended)
    assert errors == {0: None, 1: "the loss is nan.", 2: "killed by SIGKILL", 3: None}


@pytest.mark.parametrize("jobs", [1, 2])
def test_as_many_run_at_a_time_as_are_asked_for(program, jobs):
    run(program, ["a", "b", "c"], jobs)
    running, most = 0, 0
    for line in program.read_text().splitlines():
        running += 1 if "begins" in line else -1
        most = max(most, running)
    assert most == jobs


def test_jobs_side_by_side_share_no_cpu(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5})
    assert slots(1) == [[]]
    assert slots(2) == [[0, 1], [2, 5]]
    assert slots(8)[:5] == [[0], [1], [2], [5], [0]]


def test_a_sweep_that_is_ended_ends_its_jobs(program):
    def terminate(signum, frame):
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, terminate)
    signal.setitimer(signal.ITIMER_REAL, 2)
    begin = time.monotonic()
    with pytest.raises(PreemptedError, match=r"2 jobs saved and ended\. SIGTERM"):
        run(program, ["waits", "waits", "never"], 2)
    assert time.monotonic() - begin < 30
    assert program.read_text().count("saved") == 2
    assert "never" not in program.read_text()


SWEEP = """
import sys
from unfold.cli.sweeps.pool import run_jobs
from unfold.launchers.parallel import Parallel
sys.argv = [sys.argv[1]]
run_jobs([[]], Parallel(1), lambda number, job: None, sys.argv[0] + ".runs")
"""

JOB = """
import os, sys, time
from unfold.launchers.parallel import join_sweep
join_sweep()
open(__file__ + ".pid", "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals this")
def test_jobs_end_with_a_sweep_that_is_killed(tmp_path):
    job, pid = tmp_path / "job.py", tmp_path / "job.py.pid"
    job.write_text(JOB)
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, str(job)], cwd=ROOT)
    until(lambda: pid.exists() and pid.read_text() != "")
    sweep.kill()
    sweep.wait()
    until(lambda: not Path("/proc", pid.read_text()).exists() or is_zombie(pid.read_text()))


def is_zombie(pid):
    """Whether nobody waited for a process that ended: here, an init that does not."""
    return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_parallel_sweep_runs_and_is_not_repeated(tmp_path, monkeypatch, capsys):
    small = """
    evaluation=none data.crop=16 data.batch_size=4 prior.weights=null prior.denoiser.depth=2
    prior.denoiser.width=8 model.iterations=1 trainer.max_steps=2 trainer.threads=1
    hydra/launcher=parallel hydra.launcher.jobs=2 -m optimizer.lr=1e-3,1e30 algo=pgd
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])  # which the jobs run
    assert guarded(train, [*small.split(), f"runs_dir={tmp_path}"]) == 7
    said = capsys.readouterr()
    assert "1 of 2 jobs failed" in said.err and "not finite" in said.out
    assert len(list(tmp_path.glob("*/*/results.json"))) == 1
