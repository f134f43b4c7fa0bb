"""Launchers: their arguments, requests to a cluster, signals, jobs that resume."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.launchers.cluster import make_cluster
from unfold.cli.sweeps.launch import take_launcher
from unfold.cli.sweeps.pool import run_jobs
from unfold.errors import ConfigError, PreemptedError
from unfold.launchers.launcher import CODE, LOG, Job
from unfold.launchers.parallel import Parallel
from unfold.launchers.ray import Ray
from unfold.launchers.slurm import Slurm
from unfold.launchers.worker import without_rerun

PROGRAM = """
import json, os, signal, sys, time
word, notes = sys.argv[1:3]
def note(text):
    with open(notes, "a") as file: file.write(f"{word} {text}\\n")
note("begins")
if word == "fails":
    sys.stderr.write("noise\\nerror: the loss is nan.\\n"); sys.exit(4)
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "waits" or (word == "long" and "SLURM_RESTART_COUNT" not in os.environ):
    signal.signal(signal.SIGTERM, lambda *a: (note("saved"), sys.exit(143)))
    note("ready")
    time.sleep(60)
if "UNFOLD_OUTCOME" not in os.environ:
    note("silent on " + os.environ["SLURM_NODEID"]); sys.exit()
content = {"directory": "there", "scores": {"best validation/psnr": 30.0}, "repeated": False}
json.dump(content, open(os.environ["UNFOLD_OUTCOME"], "w"))
note(" ".join(sys.argv[3:]) + str("SLURM_NTASKS" in os.environ))
"""

WITHOUT = {"submitit": Slurm(), "ray": Ray()}


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program in the place of the training; gives the file of its notes."""
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "program.py")])
    return tmp_path / "notes"


def ends(program, launcher, arguments):
    """The exit code, error and score of each job."""
    found = {}

    def ended(number, job):
        scores = job.outcome.scores if job.outcome else {}
        error = None if job.code == 0 else job.error
        found[arguments[number]] = (job.code, error, scores.get("best validation/psnr"))

    commands = [[word, str(program), "rerun=true"] for word in arguments]
    run_jobs(commands, launcher, ended, program.parent / "runs")
    return found


def needs(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
    )


def test_the_launcher_and_its_keys_are_taken_out_of_the_words(tmp_path):
    assert take_launcher(["-m", "seed=0,1"]) == (Parallel(1), ["-m", "seed=0,1"])
    arguments = ["-m", "hydra/launcher=parallel", "hydra.launcher.jobs=3", "seed=0,1"]
    assert take_launcher(arguments) == (Parallel(3), ["-m", "seed=0,1"])
    assert take_launcher(["hydra/launcher=basic"])[0] is None
    options = tmp_path / "hydra/launcher"
    options.mkdir(parents=True)
    (options / "mine.yaml").write_text("_target_: unfold.launchers.parallel.Parallel\njobs: 7\n")
    folder = ["--config-dir", str(tmp_path)]
    assert take_launcher(["hydra/launcher=mine", *folder]) == (Parallel(7), folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra/launcher=paralel"], r"paralel: no such option, did you mean 'parallel'.*slurm"),
        (
            ["hydra.launcher.jobs=0"],
            r"hydra\.launcher\.jobs = 0: must be a whole number of at least 1",
        ),
        (["hydra.launcher.jobs=many"], r"hydra\.launcher\.jobs = many: a whole number is expected"),
        (["hydra.launcher.job=2"], r"hydra\.launcher\.job = 2: unknown key, did you mean 'jobs'"),
        (["hydra/launcher="], r"no value given"),
        (["hydra/launcher=basic", "hydra.launcher.jobs=2"], r"runs all jobs in one process"),
        (
            ["hydra/launcher=slurm", "hydra.launcher.time=0"],
            r"launcher\.time = 0: must be a whole number of at least 1",
        ),
        (
            ["hydra/launcher=slurm", "hydra.launcher.mem=-1"],
            r"launcher\.mem = -1\.0: must be positive",
        ),
        (
            ["hydra/launcher=slurm", "hydra.launcher.time=1", "hydra.launcher.save_within=60"],
            r"save_within = 60: must be less than the 60 seconds",
        ),
    ],
)
def test_what_no_launcher_can_mean_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        take_launcher(arguments)


@pytest.mark.parametrize(("package", "launcher"), WITHOUT.items())
def test_a_missing_package_is_reported_before_anything_is_made(monkeypatch, package, launcher):
    monkeypatch.setattr("unfold.launchers.launcher.find_spec", lambda name: None)
    text = rf"needs the package {package}\. Write pip install -e '.\[{launcher.extra}\]'"
    with pytest.raises(ConfigError, match=text):
        launcher.require()
    Parallel().require()


def test_without_slurm_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("unfold.launchers.launcher.find_spec", lambda name: object())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="sbatch and srun are not on this machine's PATH"):
        Slurm().require()


def test_what_is_asked_of_slurm():
    asked = Slurm(partition="gpu", time=30, nodes=3, gpus=2, mem=1.5, setup=["module load cuda"])
    assert asked.parameters() == {
        "job_name": "unfold",
        "partition": "gpu",
        "time": 30,
        "nodes": 3,
        "ntasks_per_node": 2,
        "cpus_per_task": 2,
        "gpus_per_node": 2,
        "mem": "1536MB",
        "signal_delay_s": 120,
        "setup": ["module load cuda"],
        "additional_parameters": {"requeue": True, "ntasks": 6},
    }


WORKER = """
import sys
from pathlib import Path
from unfold.launchers.worker import Worker
command = [sys.executable, sys.argv[1], sys.argv[3], sys.argv[4], "rerun=true"]
given = {"UNFOLD_OUTCOME": sys.argv[2] + "/outcome.json"}
Worker(command, given, Path(sys.argv[2]), requeues=1)()
"""


def start_worker(tmp_path, program, word, **variables):
    given = os.environ | {"PATH": make_cluster(tmp_path / "cluster"), "SLURM_NTASKS": "1"}
    arguments = [str(tmp_path), word, str(program)]
    command = [sys.executable, "-c", WORKER, str(tmp_path / "program.py"), *arguments]
    return subprocess.Popen(command, env=given | variables)


def wait_for(path, text):
    until = time.monotonic() + 30
    while text not in (path.read_text() if path.exists() else ""):
        assert time.monotonic() < until, f"no {text} in {path.name}"
        time.sleep(0.05)


def test_a_worker_writes_down_the_exit_code_and_continues_with_a_run(tmp_path, program):
    done = start_worker(tmp_path, program, "long", SLURM_RESTART_COUNT="1")
    assert done.wait() == 0 and (tmp_path / CODE).read_text() == "0"
    assert program.read_text() == "long begins\nlong False\n", "no rerun, no tasks of SLURM"
    assert without_rerun(["a", "++rerun=true", "b"]) == ["a", "b"]


@pytest.mark.parametrize(("restarts", "queued"), [("0", True), ("1", False)])
def test_a_worker_lets_the_run_save_itself(tmp_path, program, restarts, queued):
    variables = {"SLURM_JOB_ID": "1", "SLURM_RESTART_COUNT": restarts}
    worker = start_worker(tmp_path, program, "waits", **variables)
    (tmp_path / "cluster/job-1").mkdir()
    wait_for(program, "ready")
    worker.send_signal(signal.SIGUSR2)
    assert worker.wait() == 143
    assert program.read_text().count("saved") == 1
    assert (tmp_path / "cluster/job-1/requeue").exists() == queued
    assert (tmp_path / CODE).exists() != queued, "a job that is queued again has not ended"
    assert (tmp_path / LOG).read_text() == ""


ENDS = {"first": (0, None, 30.0), "fails": (4, "the loss is nan.", None)}


@needs("submitit")
def test_slurm_jobs_run_fail_and_go_on_after_their_time_limit(program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", make_cluster(tmp_path / "cluster", limit=6))
    monkeypatch.setattr(Slurm, "poll", 0.2)
    Slurm().require()
    found = ends(program, Slurm(partition="gpu"), ["first", "fails", "long"])
    assert found == ENDS | {"long": (0, None, 30.0)}
    notes = program.read_text()
    assert "long saved\nlong begins\nlong " in notes, "saved at the limit, and started again"
    assert notes.count("rerun=true") == 1, "a second start resumes the run"
    assert "--partition=gpu" in (tmp_path / "cluster/job-1/script").read_text()
    assert not list((tmp_path / "runs/.jobs").iterdir())


@needs("submitit")
def test_a_slurm_job_of_two_machines_has_a_task_on_each(program, tmp_path, monkeypatch):
    """Rank zero reports the outcome; both know their task, from which Lightning reads its rank."""
    monkeypatch.setenv("PATH", make_cluster(tmp_path / "cluster"))
    monkeypatch.setattr(Slurm, "poll", 0.2)
    found = ends(program, Slurm(nodes=2), ["machine"])
    assert found == {"machine": (0, None, 30.0)}
    notes = program.read_text()
    assert notes.count("begins") == 2
    assert notes.count("True") == 1, "the variables of srun, which Lightning reads"
    assert notes.count("silent on 1") == 1


@needs("submitit")
def test_slurm_jobs_are_ended_with_the_sweep(program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", make_cluster(tmp_path / "cluster"))
    monkeypatch.setattr(Slurm, "poll", 0.2)
    end_when_ready(program, replace(Slurm(), jobs=2))


def end_when_ready(program, launcher):
    """Both jobs save themselves when the sweep gets SIGTERM, and the third never starts."""

    def terminate(signum, frame):
        if program.exists() and program.read_text().count("ready") == 2:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGALRM, terminate)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    try:
        with pytest.raises(PreemptedError, match=r"2 jobs saved and ended\. SIGTERM"):
            run_jobs([[w, str(program)] for w in ("waits", "waits", "never")], launcher, print)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert program.read_text().count("saved") == 2
    assert "never" not in program.read_text()


@needs("ray")
def test_ray_runs_jobs(program):
    import ray

    try:
        found = ends(program, Ray(jobs=2), ["first", "fails", "killed"])
        assert found == ENDS | {"killed": (-9, "killed by SIGKILL", None)}
    finally:
        ray.shutdown()


class Ended(Job):
    """A job that has ended with an exit code of 1."""

    code = 1

    def end(self):
        """It has ended."""


CRASH = """a line before
Traceback (most recent call last):
  File "a.py", line 1, in f
ValueError: 3

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    raise RuntimeError("the lake is cold")
RuntimeError: the lake is cold
compile with more to see more
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (CRASH, "RuntimeError: the lake is cold"),
        (CRASH + "error: our own\n  second\n", "our own\n  second"),
        ("a line\nBus error (core dumped)\n", "Bus error (core dumped)"),
        ("", "exit code 1"),
    ],
)
def test_the_reason_of_a_failed_job_is_its_last_exception(log, reason, tmp_path):
    (tmp_path / "log").write_text(log)
    assert Ended(tmp_path).error == reason
