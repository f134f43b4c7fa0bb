"""Trainings forked from a process that has imported everything, so that many can be tried.

Python and PyTorch take three seconds to import, and a training of this size takes two. A forked one
runs the same command in its own process, with its own signals, files and exit code; what
it is compared with is a command in a new process, as a user starts it.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context, set_start_method
from pathlib import Path
from typing import NamedTuple

import unfold.cli.job
import unfold.evaluation.across_operators
import unfold.training.fit  # noqa: F401 (imported here so that no training has to)
from tests.faults.training import ROOT
from unfold.cli.console import guarded
from unfold.cli.train import train
from unfold.data.example import Batch
from unfold.training.module import Training

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["tests.faults.forked"])


class Step(NamedTuple):
    """One step that a training took.

    step: its number, from 0.
    epoch: the pass over the images.
    samples: of its batch.
    """

    step: int
    epoch: int
    samples: list[int]


class Forked:
    """A running training.

    Args:
        words: of its command line.
        runs: the folder of its runs.
        folder: where what it says and the steps it takes are written.
    """

    def __init__(self, words: Sequence[str], runs: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._said, self._steps = folder / "said", folder / "steps"
        given = [*words, f"runs_dir={runs}"]
        self._process = SERVER.Process(target=_run, args=(given, self._said, self._steps))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Of the exit: negative after a signal that was not caught, None before the end."""
        return self._process.exitcode

    @property
    def said(self) -> str:
        """What the user has read so far."""
        return self._said.read_text() if self._said.exists() else ""

    @property
    def steps(self) -> list[Step]:
        """The steps it took so far, whether or not they are in a training state."""
        lines = self._steps.read_text().splitlines() if self._steps.exists() else []
        return [Step(*json.loads(line)) for line in lines]

    def wait_until(self, reached: Callable[[], bool]) -> bool:
        """Look again and again; False where it ended first."""
        while not reached():
            if self.code is not None:
                return False
            time.sleep(0.004)
        return True

    def claims(self) -> bool:
        """Wait for its directory; False where it ended first."""
        return self.wait_until(lambda: "\nrun " in f"\n{self.said}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        os.kill(self.pid, number)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        self._process.join()
        assert self.code is not None
        return self.code


def _run(words: Sequence[str], said: Path, steps: Path) -> None:
    """In the forked process: what `python train.py` does."""
    os.setsid()
    # Of a new process: loader workers of a forked server would outlive a training that is killed.
    set_start_method("fork" if sys.platform == "linux" else "spawn", force=True)
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    _record(steps)
    sys.argv = [str(ROOT / "train.py"), *words]
    sys.exit(guarded(train, words))


def _record(path: Path) -> None:
    """Write down every step that is taken: one line, whole also where a kill follows."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    take = Training.training_step

    def training_step(self: Training, batch: Batch, batch_idx: int) -> object:
        step = Step(self.global_step, batch.epoch, batch.index.tolist())
        os.write(descriptor, f"{json.dumps(step)}\n".encode())
        return take(self, batch, batch_idx)

    Training.training_step = training_step  # type: ignore[method-assign]
