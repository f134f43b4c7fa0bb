"""Many starts of one configuration at one time: one has the directory, the others are refused."""

import subprocess
import sys
from pathlib import Path

from tests.faults.training import ROOT, WORDS, Verdict, launch

STARTS = 50
CLAIM = """
import sys
from pathlib import Path
from unfold.errors import RunError
from unfold.runs.directory import claim

print("ready", flush=True)
sys.stdin.readline()
try:
    with claim(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except RunError as error:
    print("refused" if "is being written by" in str(error) else error, flush=True)
"""


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


TRAININGS = 3
"""Whole trainings that start at one time; they take longer to start than the rest of the trial."""

REFUSED = 6
"""The exit code of a run whose directory another process writes."""


def trainings(folder: Path) -> tuple[int, int]:
    """Of whole trainings that start together, how many finish and how many are refused."""
    processes = [launch(WORDS, folder) for _ in range(TRAININGS)]
    said = [process.communicate()[0] for process in processes]
    pairs = [(process.returncode, text) for process, text in zip(processes, said, strict=True)]
    finished = sum(code == 0 and "finished" in text for code, text in pairs)
    return finished, sum(code == REFUSED and "is being written by" in text for code, text in pairs)


def trial(folder: Path) -> Verdict:
    """One process holds the directory until all the others were refused; so with trainings."""
    words = [sys.executable, "-c", CLAIM, str(folder / "run")]
    pipe = subprocess.PIPE
    starts = [
        subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for _ in range(STARTS)
    ]
    ready = [heard(process) for process in starts]
    assert ready == ["ready"] * STARTS, ready
    for process in starts:
        tell(process)
    said = [heard(process) for process in starts]
    for process, word in zip(starts, said, strict=True):
        if word == "held":
            tell(process)
        process.communicate()
    held, refused = said.count("held"), said.count("refused")
    finished, sent_away = trainings(folder / "runs")
    line = (
        f"{held} of {STARTS} concurrent starts runs, {refused} are refused by the lock; of "
        f"{TRAININGS} whole trainings {finished} ends and {sent_away} are refused"
    )
    alone = held == finished == 1
    return Verdict(alone and refused == STARTS - 1 and sent_away == TRAININGS - 1, line)
