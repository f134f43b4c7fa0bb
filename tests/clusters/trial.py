"""A sweep of six jobs through a cluster, disturbed on the way, against one in one process."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.clusters.processes import signal_runs
from tests.faults.sweep import finished
from tests.faults.training import TINY, Verdict, differences, launch

JOBS = 6
STEPS = 800
PATIENCE = 600.0
"""Seconds that a part of the trial may take."""

SWEEP = ["-m", *TINY, f"trainer.max_steps={STEPS}", f"seed={','.join(map(str, range(JOBS)))}"]


def reference(folder: Path) -> Path:
    """The same sweep in one process; its runs."""
    runs = folder / "reference"
    process = launch([*SWEEP, "hydra/launcher=basic"], runs)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return runs


def disturbed(
    runs: Path,
    reference: Path,
    launcher: Sequence[str],
    variables: Mapping[str, str],
    disturb: Callable[[int, int], None],
    restore: Callable[[], None],
) -> Verdict:
    """Disturb two jobs of a sweep once both run, start it again until it is done, and compare.

    Args:
        runs: where the runs go.
        reference: those of the sweep in one process.
        launcher: the arguments that choose it.
        variables: of the environment of the cluster.
        disturb: kills the worker of the job with the first seed, preempts that of the second.
        restore: brings the cluster back.
    """
    os.environ.update(variables)
    process = launch([*SWEEP, *launcher], runs)
    victims = _running(runs, process)
    disturb(*victims)
    out, _ = process.communicate(timeout=PATIENCE)
    first, before = process.returncode, finished(runs)
    restore()
    process = launch([*SWEEP, *launcher], runs)
    again, _ = process.communicate(timeout=PATIENCE)
    end = finished(runs)
    repeated = sum(end.get(name) != text for name, text in before.items())
    unequal = [
        f"{run.name}: {', '.join(found)}"
        for run in reference.glob("*/*")
        for found in [_unequal(run, runs / run.parent.name / run.name)]
        if found
    ]
    starts = [len(_starts(path)) for path in sorted(runs.glob("*/*/provenance.json"))]
    holds = (
        process.returncode == 0
        and len(end) == JOBS
        and repeated == 0
        and not unequal
        and sum(starts) >= JOBS + 2  # both of the disturbed jobs started again
    )
    line = (
        f"{len(end)} of {JOBS} jobs finished, {JOBS - len(unequal)} bit-identical, {repeated} "
        f"repeated; starts {starts}; exit codes {first}, {process.returncode}"
    )
    return Verdict(holds, line if holds else f"{line}\n{unequal}\n{out}\n{again}")


def searched(runs: Path, launcher: Sequence[str], variables: Mapping[str, str]) -> Verdict:
    """A search by optuna of which a trial is killed, started until it is done: its exact total."""
    os.environ.update(variables)
    words = ["-m", *TINY, f"trainer.max_steps={STEPS}", "sweep=optuna", f"sweep.trials={JOBS}"]
    words += [f"sweep.startup={JOBS}", *launcher]
    process = launch(words, runs)
    while not list(runs.glob("*/*/checkpoints/*.ckpt")) and process.poll() is None:
        time.sleep(0.1)
    lost = signal_runs(signal.SIGKILL, f"runs_dir={runs}")
    said = [process.communicate(timeout=PATIENCE)[0]]
    for _ in range(2):
        process = launch(words, runs)
        said.append(process.communicate(timeout=PATIENCE)[0])
    done = len(finished(runs))
    holds = lost and done == JOBS and f"{JOBS} trials were made before" in said[-1]
    line = f"a search of {JOBS} trials, one killed, made {done}"
    return Verdict(holds, line if holds else "\n".join([line, *said]))


def _unequal(one: Path, other: Path) -> list[str]:
    return differences(one, other) if (other / "results.json").exists() else ["not finished"]


def _running(runs: Path, process: "subprocess.Popen[str]") -> tuple[int, int]:
    """The seeds of two jobs that have written a checkpoint and still run."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        found = []
        for status in runs.glob("*/*/status.json"):
            saved = list(status.parent.glob("checkpoints/*.ckpt"))
            if saved and json.loads(status.read_text())["state"] == "running":
                found.append(_seed(status.parent))
        if len(found) >= 2:
            return found[0], found[1]
        time.sleep(0.1)
    out, _ = process.communicate()
    raise RuntimeError(f"no two jobs ran at a time:\n{out}")


def _seed(run: Path) -> int:
    line = next(
        line for line in (run / "config.yaml").read_text().splitlines() if line.startswith("seed:")
    )
    return int(line.partition(":")[2])


def _starts(provenance: Path) -> list[object]:
    starts: list[object] = json.loads(provenance.read_text())["attempts"]
    return starts


def kill(seed: int, runs: Path, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal the run of a seed."""
    assert signal_runs(number, f"seed={seed}", f"runs_dir={runs}"), f"no run of seed {seed}"
