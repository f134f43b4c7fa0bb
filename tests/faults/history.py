"""The metric history of a training that is killed and resumed five times."""

import random
import signal
from pathlib import Path

from tests.faults.training import (
    TINY,
    Verdict,
    directory,
    finish,
    kill_group,
    rows_of,
    start,
    wait_until,
)

RESUMES, STEPS = 5, 60
WORDS = [*TINY, f"trainer.max_steps={STEPS}"]


def trial(folder: Path, seed: int) -> Verdict:
    """Every step has one row, and so has the last validation, which comes after all steps."""
    draw, kills = random.Random(seed), 0
    for k in range(RESUMES):
        process = start(folder, WORDS)
        run, until = directory(folder), 10 * k + draw.randrange(6, 10)
        wait_until(lambda until=until, run=run: len(rows_of(run)) >= until, process)
        kills += kill_group(process, draw.choice((signal.SIGKILL, signal.SIGTERM))) != 0
    rows = rows_of(finish(folder, WORDS))
    lost, doubled = len(set(range(STEPS + 1)) - set(rows)), len(rows) - len(set(rows))
    line = f"{lost} rows lost, {doubled} duplicated over {kills} resumes of {STEPS} steps"
    return Verdict(kills == RESUMES and rows == list(range(STEPS + 1)), line)
