"""Disks that fill up while a run writes: what was saved before is kept, and the run goes on."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.faults.training import ROOT, WORDS, Verdict, differences, directory, finish, launch, say
from unfold.training.seal import newest_state

DISKS = 10
FULL = 6
"""The exit code of a machine that cannot do what is asked of it."""

ROOM = "64m"


def trial(folder: Path, seed: int) -> Verdict:
    """Runs on file systems of their own, smaller than what a run writes."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return Verdict(True, "not tried: small file systems are made with unshare, on Linux")
    whole = finish(folder / "whole")
    need = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 1024
    draw = random.Random(seed)
    faults: list[str] = []
    full = 0
    for number in range(DISKS):
        size = int(need * draw.uniform(0.05, 1.0))
        words = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.faults.disk"]
        told = subprocess.run(
            [*words, str(folder / f"disk{number}"), str(size), str(whole)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=True,
        )
        found = json.loads(told.stdout.splitlines()[-1])
        full += found["full"]
        faults += found["faults"]
        say(f"disk of {size} of {need} KiB: {found}")
    line = (
        f"{full} of {DISKS} disks filled up; {full - len(faults)} runs kept what they had, said "
        f"so with exit code {FULL}, and ended with the same bits where there was room again"
    )
    return Verdict(full >= DISKS // 2 and not faults, line)


def main(runs: Path, size: int, whole: Path) -> dict[str, object]:
    """One run on a disk of `size` KiB, and its end on a larger one; in a space of its own."""
    runs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, f"size={size}k", "tmpfs", str(runs)], check=True)
    process = launch(WORDS, runs)
    out, _ = process.communicate()
    if process.returncode == 0:
        return {"full": 0, "faults": []}
    faults = []
    if process.returncode != FULL:
        faults.append(f"exit code {process.returncode}")
    if "Traceback" in out or out.count("error: ") != 1 or "No space left" not in out:
        faults.append(f"said {out!r}")
    if any(runs.glob("*/*/results.json")):
        faults.append("looks finished")
    for run in (path.parent for path in runs.glob("*/*/status.json")):
        faults += [f"damaged: {path}" for path, _ in newest_state(run / "checkpoints").damaged]
    subprocess.run([*mount, f"remount,size={ROOM}", "tmpfs", str(runs)], check=True)
    finish(runs)
    return {"full": 1, "faults": faults + differences(whole, directory(runs))}


if __name__ == "__main__":
    say(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
