"""Every bad command line in a process of its own, as a user starts it: `python -m tests.bad_input`.

The last line says how many were refused with their key, value and exit code, within the time, with
no traceback and nothing left behind.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bad_input.cases import CASES, Case, make_files

ROOT = Path(__file__).parents[2]
LIMIT = 7.0
"""Seconds, on a machine that does nothing else."""


def refused(case: Case, files: Path, work: Path) -> tuple[str, float]:
    """What is wrong with the refusal, empty where nothing is; and the seconds it took."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *case.words.format(files).split()],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    seconds = time.monotonic() - begin
    faults = [f"does not say {part!r}" for part in case.says if part not in done.stderr]
    if done.returncode != case.code:
        faults.append(f"exit {done.returncode}, not {case.code}")
    if "Traceback" in done.stderr:
        faults.append("a traceback")
    if left := [path.name for path in work.iterdir()]:
        faults.append(f"left {left}")
    if seconds > LIMIT:
        faults.append(f"took {seconds:.1f} s")
    return "; ".join(faults), seconds


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run them all."""
    good, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        files, work = Path(folder) / "files", Path(folder) / "work"
        files.mkdir()
        work.mkdir()
        make_files(files)
        for case in CASES:
            fault, seconds = refused(case, files, work)
            good, slowest = good + (not fault), max(slowest, seconds)
            say(f"{case.number:3} {seconds:4.1f} s {case.words}: {fault or 'refused'}")
    rows = len({case.number for case in CASES})
    say(f"{good} of {len(CASES)} command lines ({rows} rows) refused, slowest {slowest:.1f} s")
    sys.exit(good < len(CASES))


if __name__ == "__main__":
    main()
