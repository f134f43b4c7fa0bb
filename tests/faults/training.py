"""A small training as a user starts it, and what it leaves: shared by the trials."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from unfold.training.checkpoints.checksum import LAST
from unfold.training.checkpoints.weights import read_checkpoint

ROOT = Path(__file__).parents[2]
STEPS = 150
SETTINGS = """
evaluation=none data.crop=16 data.batch_size=4 data.crops_per_image=10 prior.weights=null
prior.denoiser.depth=2 prior.denoiser.width=8 model.iterations=2 trainer.log_every=1
trainer.threads=1 trainer.progress=false trainer.checkpoint_every=5 trainer.accelerator=cpu
"""
TINY = SETTINGS.split()
WORDS = [*TINY, f"trainer.max_steps={STEPS}", "trainer.ema=0.9"]


class Verdict(NamedTuple):
    """What a trial found.

    holds: whether its bar is met.
    line: the figure, in words.
    """

    holds: bool
    line: str


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def command(words: Sequence[str], runs: Path) -> list[str]:
    return [sys.executable, "-u", str(ROOT / "train.py"), *words, f"runs_dir={runs}"]


def launch(words: Sequence[str], runs: Path) -> subprocess.Popen[str]:
    """A training in its own process group, on one thread and without an accelerator."""
    alone = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command(words, runs),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | alone,
    )


def start(runs: Path, words: Sequence[str] = WORDS) -> subprocess.Popen[str]:
    """A training, up to the moment where it has claimed its directory."""
    process = launch(words, runs)
    assert process.stdout is not None
    for line in process.stdout:
        assert not line.startswith("error"), line
        if line.startswith("run "):
            break
    return process


def finish(runs: Path, words: Sequence[str] = WORDS) -> Path:
    """Let a training end; its directory."""
    process = launch(words, runs)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return directory(runs)


def directory(runs: Path) -> Path:
    """The only run in a folder of runs."""
    (path,) = runs.glob("*/*/status.json")
    return path.parent


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Look again and again; False where the process ended first."""
    while not reached():
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    return True


def rows_of(run: Path) -> list[int]:
    """The steps of the rows that are written, in their order."""
    log = run / "metrics.csv"
    lines = log.read_text().splitlines()[1:] if log.exists() else []
    return [int(line.partition(",")[0]) for line in lines if line]


def kill_group(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """Send a signal to a process and all it started; the exit code."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    process.communicate()
    return process.returncode


def differences(one: Path, other: Path) -> list[str]:
    """The files of two finished runs that are not the same."""
    names = ("weights.safetensors", "metrics.csv", "results.json")
    found = [n for n in names if (one / n).read_bytes() != (other / n).read_bytes()]
    states = [read_checkpoint(path / "checkpoints" / LAST) for path in (one, other)]
    return found if equal(*states) else [*found, LAST]


def equal(one: object, other: object) -> bool:
    """Whether two training states are bit-identical."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other
