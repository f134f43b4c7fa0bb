"""The process: threads, memory, start-up, and what a job leaves behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unfold.cli import runtime
from unfold.cli.runtime import as_single_job

ROOT = Path(__file__).parents[2]


def test_the_quota_of_a_container_counts(tmp_path):
    quota = tmp_path / "cpu.max"
    allowed = len(os.sched_getaffinity(0))
    assert runtime.available_cpus(quota) == allowed
    for text, cpus in (("max 100000", allowed), ("50000 100000", 1), ("9900000 100000", allowed)):
        quota.write_text(text)
        assert runtime.available_cpus(quota) == cpus


def test_threads_are_shared_among_processes(monkeypatch):
    import torch

    before = torch.get_num_threads()
    monkeypatch.setattr(runtime, "available_cpus", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS")
    try:
        assert runtime.set_threads(None) == 4
        assert runtime.set_threads(None, processes=3) == 1
        assert runtime.set_threads(2, processes=3) == 2
        assert torch.get_num_threads() == 2
        for asked, found in (("3", 3), ("2,1", 2), ("9", 4), ("0", 4), ("many", 4)):
            monkeypatch.setenv("OMP_NUM_THREADS", asked)
            assert runtime.set_threads(None) == found
        assert runtime.set_threads(6) == 6
    finally:
        torch.set_num_threads(before)


def test_the_allocator_can_be_left_alone(monkeypatch):
    monkeypatch.setenv("UNFOLD_MALLOC", "0")
    assert not runtime.keep_freed_memory()
    monkeypatch.delenv("UNFOLD_MALLOC")
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1"))
    assert not runtime.keep_freed_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_freed_memory_stays_in_the_process():
    code = (
        "import ctypes, resource; from unfold.cli.runtime import keep_freed_memory\n"
        "assert keep_freed_memory()\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p\n"
        "def touch():\n"
        "    p = libc.malloc(2**26); ctypes.memset(p, 1, 2**26); libc.free(ctypes.c_void_p(p))\n"
        "touch(); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt; touch()\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1000\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_job_puts_back_what_it_changed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1"])
    with as_single_job(["seed=0"]):
        assert sys.argv == ["train.py", "seed=0"]
        os.environ["LOCAL_RANK"] = "0"
    assert sys.argv == ["train.py", "-m", "seed=0,1"]
    assert "LOCAL_RANK" not in os.environ


def answer(*arguments: str) -> tuple[float, subprocess.CompletedProcess]:
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "train.py", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return time.monotonic() - begin, done


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["algo=pgdd"], 2), (["seed=x"], 2)]
)
def test_help_and_plain_mistakes_are_answered_without_pytorch(arguments, code):
    seconds, done = answer(*arguments)
    assert done.returncode == code
    assert " torch" not in done.stderr
    assert " lightning" not in done.stderr
    assert seconds < 5, "1.5 s on a machine that does nothing else"
    assert not (ROOT / "outputs").exists()
    assert not (ROOT / "multirun").exists()


def test_a_closed_pipe_ends_a_command_without_a_traceback():
    """As `unfold list | head -1` does."""
    code = (
        "import sys; from unfold.cli.console import guarded, say\n"
        "sys.exit(guarded(lambda _: [say('line') for _ in range(9)] and 0, []))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False, cwd=ROOT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
