import os
import signal
import subprocess
import sys

import pytest

from unfold.errors import ConfigError, RunError
from unfold.runs.processes import (
    LAUNCHES,
    RANKS,
    Lock,
    check_launch,
    check_rank,
    is_held,
    launch,
    launched,
    rank,
)

HOLD = """
import sys
from pathlib import Path
from unfold.runs.processes import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def hold(path):
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_refused_with_the_holder_of_the_lock(tmp_path):
    process = hold(tmp_path / ".lock")
    with process, pytest.raises(RunError, match=f"is being written by process {process.pid} on "):
        Lock(tmp_path / ".lock").acquire()


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path):
    process = hold(tmp_path / ".lock")
    process.kill()
    process.communicate()
    lock = Lock(tmp_path / ".lock")
    lock.acquire()
    lock.release()


def test_a_released_lock_can_be_taken_again(tmp_path):
    first, second = Lock(tmp_path / "a/.lock"), Lock(tmp_path / "a/.lock")
    first.acquire()
    with pytest.raises(RunError, match=f"process {os.getpid()}"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        Lock(tmp_path / "runs/.lock").acquire()


def test_ranks_and_launches_are_read_from_the_environment(monkeypatch):
    for name in (*RANKS, *(name for names in LAUNCHES for name in names)):
        monkeypatch.delenv(name, raising=False)
    assert (rank(), launch()) == (0, "")
    with launched():
        own = launch()
        assert own
        with launched():
            assert launch() == own, "a rank has the launch of the process that started it"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert launch() == "7 - -"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert launch() == "none - - -"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert rank() == 1


def test_several_machines_need_a_launcher(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    check_launch(1)
    with pytest.raises(ConfigError, match=r"nodes = 2: several machines start through torchrun"):
        check_launch(2)
    monkeypatch.setenv("SLURM_PROCID", "0")
    check_launch(2)


def test_a_forked_process_does_not_hold_the_lock_of_a_run_that_is_over(tmp_path):
    """Loader workers notice some seconds after a kill that nobody waits for them."""
    lock, (reads, writes) = Lock(tmp_path / ".lock"), os.pipe()
    lock.acquire()
    worker = os.fork()
    if worker == 0:
        os.write(writes, b".")
        signal.pause()
        os._exit(0)
    try:
        os.read(reads, 1)
        assert is_held(tmp_path / ".lock")
        lock.release()
        assert not is_held(tmp_path / ".lock")
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


@pytest.mark.parametrize("name", RANKS)
def test_a_rank_that_is_left_in_the_environment_is_refused(monkeypatch, name):
    for variable in (*RANKS, *(variable for names in LAUNCHES for variable in names)):
        monkeypatch.delenv(variable, raising=False)
    check_rank(1)
    monkeypatch.setenv(name, "1")
    for processes in (1, 2):
        with pytest.raises(ConfigError, match=rf"{name}=1 in the environment .* Unset it"):
            check_rank(processes)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    check_rank(2)
    with pytest.raises(ConfigError, match="trains in one process"):
        check_rank(1)
    monkeypatch.setenv(name, " 1")
    assert rank() == 1
    for text in ("²", "-1", "x", ""):
        monkeypatch.setenv(name, text)
        with pytest.raises(ConfigError, match=rf"{name} = '{text}': must be a whole number"):
            rank()


@pytest.mark.parametrize(
    ("given", "machines", "fits"),
    [
        ({"SLURM_NTASKS": "4"}, (1, 4), False),  # --ntasks alone, which Lightning does not read
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, (1, 2), False),
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, (2, 2), False),
        ({"SLURM_NTASKS": "1"}, (1, 2), False),  # a second rank would be waited for
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}, (2, 2), True),
        ({"SLURM_NTASKS": "4"}, (1, 1), True),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "interactive"}, (1, 2), True),
        ({"SLURM_NTASKS": "1", "TORCHELASTIC_RUN_ID": "a"}, (1, 2), True),
    ],
)
def test_the_tasks_of_slurm_are_the_ranks(given, machines, fits, monkeypatch):
    for name, value in {"SLURM_PROCID": "0", **given}.items():
        monkeypatch.setenv(name, value)
    if fits:
        check_launch(*machines)
        return
    with pytest.raises(ConfigError, match=r"tasks of SLURM, and its job has SLURM_NTASKS=\d"):
        check_launch(*machines)
