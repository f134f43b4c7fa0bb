"""SIGKILL while a training state is written, with the temporary folder on another file system."""

import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch

from tests.faults.training import Verdict, say
from unfold.errors import CheckpointError
from unfold.runs.directory import Request, claim
from unfold.training.checkpoints.checksum import LAST, PREVIOUS, newest_checkpoint
from unfold.training.checkpoints.weights import read_checkpoint, write_checkpoint

KILLS = 100
LENGTH = 250_000
MEMORY = Path("/dev/shm")
"""Another file system than that of the runs, on Linux."""


def write_for_ever(run: Path, ready: int) -> None:
    """Resume from the newest state, and write one after another, all its numbers the step."""
    with claim(run, Request(accept_code=True)) as held:  # it records no code
        step = 0 if held.checkpoint is None else read_checkpoint(held.checkpoint)["global_step"]
        while True:
            step += 1
            state = {"global_step": step, "weights": torch.full((LENGTH,), float(step))}
            write_checkpoint(state, run / "checkpoints" / LAST, run / "checkpoints" / PREVIOUS)
            os.write(ready, b".")


def kill_writer(run: Path, draw: random.Random) -> None:
    """Fork a writer, and kill it at a random moment after its first state."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            write_for_ever(run, writer)
        finally:
            os._exit(1)
    os.close(writer)
    first = os.read(reader, 1)  # nothing where the writer ended
    time.sleep(draw.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    assert first, "the writer ended by itself"


def state_of(run: Path, least: int) -> int | None:
    """The step of the newest state; None where a file is damaged, mixed, or older than `least`."""
    found = newest_checkpoint(run / "checkpoints")
    if found.path is None or found.damaged:
        return None
    try:
        states = [read_checkpoint(path) for path in (run / "checkpoints").glob("*.ckpt")]
    except CheckpointError:
        return None
    whole = all(bool((s["weights"] == float(s["global_step"])).all()) for s in states)
    step = int(read_checkpoint(found.path)["global_step"])
    return step if whole and step >= least else None


def leftovers(*folders: Path) -> int:
    """The files that were begun and not put in place."""
    return sum(path.is_file() for folder in folders for path in folder.rglob("*tmp*"))


def trial(folder: Path, seed: int) -> Verdict:
    """No state is corrupt after any kill, and the next start leaves no half of one behind."""
    torch.set_num_threads(1)  # a forked process has no threads of its parent
    draw, run, corrupt, step, halves = random.Random(seed), folder / "run", 0, 0, 0
    elsewhere = MEMORY if MEMORY.is_dir() else folder
    with tempfile.TemporaryDirectory(dir=elsewhere) as name:
        os.environ["TMPDIR"], before = name, os.environ.get("TMPDIR")
        tempfile.tempdir = None
        other = Path(name).stat().st_dev != folder.stat().st_dev
        for _ in range(KILLS):
            kill_writer(run, draw)
            now = state_of(run, step + 1)
            corrupt += now is None
            step = step if now is None else now
            halves += leftovers(run, Path(name)) > 0
        with claim(run, Request(accept_code=True)):
            orphans = leftovers(run) + sum(1 for _ in Path(name).iterdir())
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        tempfile.tempdir = None
    say(f"{halves} of {KILLS} kills came within a write; {step} states were written")
    where = "another file system" if other else "the same file system"
    line = f"{corrupt} of {KILLS} checkpoints corrupt, {orphans} orphans (TMPDIR on {where})"
    return Verdict(corrupt == 0 and orphans == 0, line)
