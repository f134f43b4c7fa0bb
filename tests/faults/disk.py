"""Disks that fill up while a run writes: what was saved before is kept, and the run continues."""

import json
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.forked import Forked
from tests.faults.training import ROOT, WORDS, Verdict, differences, directory, finish, say
from unfold.training.checkpoints.checksum import newest_checkpoint

DISKS = 20
FULL = 6
"""The exit code of a machine that cannot do what is asked of it."""

ROOM = "64m"
ALONE = ["unshare", "--map-root-user", "--mount"]
GOES_ON = "The training continues"
"""What a run says of a state that found no room."""


def trial(folder: Path, seed: int, jobs: int) -> Verdict:
    """Runs on file systems of their own, smaller than what a run writes.

    Every second one gets more room as soon as it has said that there is none, and must end as if
    nothing had happened; the others must say so in the end, and end as well when started again.
    """
    if not can_mount(folder):
        line = "NOT TRIED: small file systems need Linux, and an unshare that may mount a tmpfs"
        return Verdict(False, line)
    whole = finish(folder / "whole")
    need = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 1024
    draw = random.Random(seed)
    least = (0.05, 0.7)  # one that grows must have room for the start of its run
    sizes = [int(need * draw.uniform(least[number % 2], 0.98)) for number in range(DISKS)]

    def run_one(number: int) -> dict[str, list[str] | str]:
        place, size = folder / f"disk{number}", sizes[number]
        words = [*ALONE, sys.executable, "-m", "tests.faults.disk"]
        given = [str(place), str(size), str(whole), str(number % 2)]
        out = subprocess.run([*words, *given], capture_output=True, text=True, cwd=ROOT, check=True)
        found: dict[str, list[str] | str] = json.loads(out.stdout.splitlines()[-1])
        say(f"disk of {size} of {need} KiB: {found}")
        return found

    with ThreadPoolExecutor(jobs) as pool:
        all_found = list(pool.map(run_one, range(DISKS)))
    ends = [found["end"] for found in all_found]
    full, went_on = ends.count("full"), ends.count("went on")
    wrong = sum(bool(found["faults"]) for found in all_found)
    line = (
        f"{full + went_on} of {DISKS} disks filled up; {went_on} runs went on when there was room "
        f"again, {full} kept what they had and said so with exit code {FULL}; {wrong} ended with "
        "other bits or otherwise"
    )
    return Verdict(min(full, went_on) >= DISKS // 4 and wrong == 0, line)


def can_mount(folder: Path) -> bool:
    """Whether this machine lets a user make a small file system."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    place = folder / "mount"
    place.mkdir()
    words = [*ALONE, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def main(runs: Path, size: int, whole: Path, *, grows: bool) -> dict[str, list[str] | str]:
    """One run on a disk of `size` KiB, and its end on a larger one; in its own namespace."""
    runs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, f"size={size}k", "tmpfs", str(runs)], check=True)
    notes = runs.with_name(f"{runs.name}-notes")
    process = Forked(WORDS, runs, notes / "full")
    if grows and process.wait_until(lambda: GOES_ON in process.said):
        _grow(runs)
    code = process.end()
    if code == 0:
        end = "went on" if GOES_ON in process.said else "room enough"
        return {"end": end, "faults": differences(whole, directory(runs))}
    faults = _faults(code, process.said, runs)
    _grow(runs)
    again = Forked(WORDS, runs, notes / "again")
    if again.end() != 0:
        return {"end": "full", "faults": [*faults, again.said]}
    return {"end": "full", "faults": faults + differences(whole, directory(runs))}


def _grow(runs: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"remount,size={ROOM}", "x", runs], check=True)


def _faults(code: int, said: str, runs: Path) -> list[str]:
    """What is wrong with a run that ended because of its disk."""
    faults = [] if code == FULL else [f"exit code {code}"]
    if "Traceback" in said or said.count("error: ") != 1 or "No space left" not in said:
        faults.append(f"said {said!r}")
    if any(runs.glob("*/*/results.json")):
        faults.append("looks finished")
    for run in (path.parent for path in runs.glob("*/*/status.json")):
        faults += [f"damaged: {path}" for path, _ in newest_checkpoint(run / "checkpoints").damaged]
    return faults


if __name__ == "__main__":
    folder, size, whole, grows = sys.argv[1:]
    say(json.dumps(main(Path(folder), int(size), Path(whole), grows=grows == "1")))
