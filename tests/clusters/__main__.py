"""`python -m tests.clusters [slurm] [ray]`: sweeps through real clusters of this machine."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.clusters import ray, slurm
from tests.clusters.trial import disturbed, kill, reference, searched
from tests.faults.training import Verdict, say

CPUS = 2


def through_slurm(folder: Path, runs: Path) -> Verdict:
    """One job is killed; another gives way to an urgent one, and SLURM requeues it."""
    own = folder / "slurm"
    with slurm.cluster(CPUS) as variables:

        def disturb(killed: int, preempted: int) -> None:
            kill(killed, own)
            # Both CPUs are asked for: whichever jobs run then give way.
            wrap = ["sbatch", "--partition=urgent", f"--cpus-per-task={CPUS}", "--wrap=sleep 2"]
            given = os.environ | variables
            subprocess.run([*wrap, "--output=/dev/null"], env=given, check=True)

        launcher = ["hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.time=60"]
        swept = disturbed(own, runs, launcher, variables, disturb, lambda: None)
        return both(swept, searched(folder / "slurm search", launcher, variables))


def through_ray(folder: Path, runs: Path) -> Verdict:
    """A worker is lost with its job; the job of the other is asked to end."""
    own = folder / "ray"
    with ray.cluster(CPUS) as cluster:

        def disturb(killed: int, preempted: int) -> None:
            kill(preempted, own, signal.SIGTERM)
            cluster.kill_worker()

        launcher = [
            "hydra/launcher=ray",
            f"hydra.launcher.jobs={CPUS}",
            f"hydra.launcher.address='{cluster.address}'",
        ]
        swept = disturbed(own, runs, launcher, {}, disturb, cluster.add_worker)
        return both(swept, searched(folder / "ray search", launcher, {}))


def both(one: Verdict, other: Verdict) -> Verdict:
    """Two findings as one."""
    return Verdict(one.holds and other.holds, f"{one.line}; {other.line}")


def main(words: list[str]) -> int:
    """Run the trials that are named, all where none is; what is not installed is said."""
    parser = argparse.ArgumentParser(prog="python -m tests.clusters", description=__doc__)
    parser.add_argument("names", nargs="*", help="slurm, ray")
    named = parser.parse_args(words).names
    trials: Mapping[str, Callable[[Path, Path], Verdict]] = {
        "slurm": through_slurm,
        "ray": through_ray,
    }
    if unknown := [name for name in named if name not in trials]:
        parser.error(f"no such trial: {', '.join(unknown)}; there are {', '.join(trials)}")
    lacking = {"slurm": slurm.missing(), "ray": ray.missing()}
    chosen = [name for name in named or trials if lacking[name] is None]
    for name in named or trials:
        if lacking[name]:
            say(f"{name} skipped: {lacking[name]}")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        runs = reference(Path(folder)) if chosen else Path(folder)
        for name in chosen:
            verdict = trials[name](Path(folder), runs)
            missed += not verdict.holds
            say(f"{name}{'' if verdict.holds else ' MISSED'}: {verdict.line}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
