"""A sweep that is interrupted twice, and one whose jobs fail."""

import json
import os
import signal
import time
from pathlib import Path

from tests.faults.training import TINY, Verdict, kill_group, launch

JOBS = 12
STOPS = (3, 7)
"""Finished runs at which the sweep is ended: first with SIGKILL, then from the keyboard."""

WORDS = ["-m", *TINY, "trainer.max_steps=6", "hydra/launcher=parallel", "hydra.launcher.jobs=2"]

LOSSES = """
import os
import signal
import sys
from dataclasses import dataclass

from unfold.training.losses import MSE


@dataclass(frozen=True)
class Raises(MSE):
    def __call__(self, reconstruction, truth):
        raise RuntimeError("raised by the loss")


@dataclass(frozen=True)
class Exits(MSE):
    def __call__(self, reconstruction, truth):
        sys.exit(0)


@dataclass(frozen=True)
class Kills(MSE):
    def __call__(self, reconstruction, truth):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def finished(runs: Path) -> dict[str, str]:
    """The runs that are finished, each with its status as it stands."""
    states = {path.parent.name: path.read_text() for path in runs.glob("*/*/status.json")}
    return {name: text for name, text in states.items() if json.loads(text)["state"] == "finished"}


def interrupted(folder: Path) -> Verdict:
    """The same command until it ends; no finished run may be touched again."""
    runs = folder / "interrupted"
    seeds = ",".join(map(str, range(JOBS)))
    words = [*WORDS, f"seed={seeds}"]
    before: dict[str, str] = {}
    repeated = 0
    for stop, number in zip(STOPS, (signal.SIGKILL, signal.SIGINT), strict=True):
        process = launch(words, runs)
        while len(finished(runs)) < stop and process.poll() is None:
            time.sleep(0.05)
        kill_group(process, number)
        now = finished(runs)
        repeated += sum(now.get(name) != text for name, text in before.items())
        before = now
    process = launch(words, runs)
    process.communicate()
    end = finished(runs)
    repeated += sum(end.get(name) != text for name, text in before.items())
    holds = len(end) == JOBS and repeated == 0 and process.returncode == 0
    return Verdict(
        holds,
        f"{len(end)} of {JOBS} runs of a sweep interrupted {len(STOPS)} times are finished, "
        f"{repeated} were repeated",
    )


def failing(folder: Path) -> Verdict:
    """Three jobs of five raise, exit with 0 and kill themselves."""
    runs, package = folder / "failing", folder / "package"
    (package / "loss").mkdir(parents=True)
    (package / "faulty.py").write_text(LOSSES)
    for name in ("Raises", "Exits", "Kills"):
        (package / f"loss/{name.lower()}.yaml").write_text(f"_target_: faulty.{name}\n")
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{package}{os.pathsep}{path}"
    words = [*WORDS, f"--config-dir={package}", "trust=[faulty]", "loss=raises,mse,exits,l1,kills"]
    process = launch(words, runs)
    out, _ = process.communicate()
    os.environ["PYTHONPATH"] = path
    holds = len(finished(runs)) == 2 and process.returncode == 7 and "raised by the loss" in out
    return Verdict(
        holds,
        f"{len(finished(runs))} of 2 good jobs next to 3 bad ones are finished, exit code "
        f"{process.returncode}",
    )


def trial(folder: Path) -> Verdict:
    """Both."""
    one, other = interrupted(folder), failing(folder)
    return Verdict(one.holds and other.holds, f"{one.line}; {other.line}")
