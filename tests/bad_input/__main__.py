"""Every bad input, as a user gives it: `python -m tests.bad_input`.

Command lines are processes of their own; what only Python code can give, and files of formats that
must be read right, are the tests of the same number. A row counts where all of it is right: the key
and value said, the exit code, no traceback, nothing left behind, within the time.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.bad_input.cases import CASES, Case, make_files

ROOT = Path(__file__).parents[2]
ROWS = 64

LIMIT, LIGHT_LIMIT = 7.0, 3.0
"""Seconds, on a machine that does nothing else."""

LIGHT = {1, 3, 4, 7, 10, 11, 12, 13, 16, 19}
"""Rows whose mistake shows before a class that needs PyTorch is looked at."""

READ_RIGHT = {
    "test_sixteen_bits_are_distinguished": 53,
    "test_pixel_values_of_every_format": 53,
    "test_a_cmyk_jpeg_is_converted_to_rgb": 57,
    "test_a_jpeg_is_rotated_by_its_exif_data": 58,
}
"""Inputs that are legal, and the tests that compare what is read of them."""


class Rows(NamedTuple):
    """The rows of which something is right, and those of which something is wrong."""

    right: set[int]
    wrong: set[int]


def tested(report: Path) -> Rows:
    """The rows that tests are of; pytest runs in its own process, and writes a report."""
    rows = Rows(set(), set())
    files = ["tests/bad_input/test_calls.py", "tests/data/test_image_reader.py"]
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files]
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.attrib["name"].partition("[")[0]
        number = re.match(r"test_(\d+)_", name)
        row = int(number[1]) if number else READ_RIGHT.get(name)
        if row is not None:
            (rows.wrong if len(case) else rows.right).add(row)
    return rows


def refused(case: Case, files: Path, work: Path) -> tuple[str, float]:
    """What is wrong with the refusal, empty where nothing is; and the seconds it took."""
    limit = LIGHT_LIMIT if case.number in LIGHT else LIMIT
    done, seconds = _run(case, files, work)
    if seconds > limit:  # something else may have had the machine
        done, seconds = _run(case, files, work)
    faults = [f"does not say {part!r}" for part in case.says if part not in done.stderr]
    if done.returncode != case.code:
        faults.append(f"exit {done.returncode}, not {case.code}")
    if "Traceback" in done.stderr or "unexpected" in done.stderr:
        faults.append("a traceback, or its absence excused")
    if left := [path.name for path in work.iterdir()]:
        faults.append(f"left {left}")
    if seconds > limit:
        faults.append(f"took {seconds:.1f} s, at most {limit:g} s expected")
    return "; ".join(faults), seconds


def _run(case: Case, files: Path, work: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *case.arguments.format(files).split()],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    return done, time.monotonic() - begin


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Try them all."""
    slowest, slowest_light = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        files, work = Path(folder) / "files", Path(folder) / "work"
        files.mkdir()
        work.mkdir()
        make_files(files)
        rows = tested(Path(folder) / "report.xml")
        for case in CASES:
            fault, seconds = refused(case, files, work)
            (rows.wrong if fault else rows.right).add(case.number)
            slowest = max(slowest, seconds)
            slowest_light = max(slowest_light, seconds if case.number in LIGHT else 0.0)
            say(f"{case.number:3} {seconds:4.1f} s {case.arguments}: {fault or 'refused'}")
    right = (rows.right - rows.wrong) & set(range(1, ROWS + 1))
    read_right = set(READ_RIGHT.values())
    missing = ", ".join(map(str, sorted(set(range(1, ROWS + 1)) - right))) or "none"
    say(
        f"bad input: {len(right)} of {ROWS} rows ({len(right - read_right)} refused, "
        f"{len(right & read_right)} read right) by {len(CASES)} command lines and the tests of "
        f"calls; slowest {slowest:.1f} s of {LIMIT:g}, without PyTorch {slowest_light:.1f} s of "
        f"{LIGHT_LIMIT:g}; rows not met: {missing}"
    )
    sys.exit(len(right) < ROWS)


if __name__ == "__main__":
    main()
