"""The metric history of a training that is killed and resumed five times."""

import random
import signal
from pathlib import Path

from tests.faults.forked import Forked
from tests.faults.training import TINY, Verdict, directory, rows_of

RESUMES, STEPS = 5, 60
WORDS = [*TINY, f"trainer.max_steps={STEPS}"]


def trial(folder: Path, seed: int) -> Verdict:
    """Every step has one row, and so has the last validation, which comes after all steps."""
    draw, kills, runs = random.Random(seed), 0, folder / "runs"
    for k in range(RESUMES):
        process = Forked(WORDS, runs, folder / str(k))
        assert process.claims(), process.said
        run, until = directory(runs), 10 * k + draw.randrange(6, 10)
        process.wait_until(lambda until=until, run=run: len(rows_of(run)) >= until)
        process.send(draw.choice((signal.SIGKILL, signal.SIGTERM)))
        kills += process.end() != 0
    last = Forked(WORDS, runs, folder / "last")
    assert last.end() == 0, last.said
    rows = rows_of(directory(runs))
    lost, doubled = len(set(range(STEPS + 1)) - set(rows)), len(rows) - len(set(rows))
    line = f"{lost} rows lost, {doubled} duplicated over {kills} resumes of {STEPS} steps"
    return Verdict(kills == RESUMES and rows == list(range(STEPS + 1)), line)
