"""Many starts of one configuration at one time: one has the directory, the others are refused."""

import signal
from pathlib import Path

from tests.faults.forked import Forked
from tests.faults.training import TINY, Verdict

STARTS = 50
ENDLESS = [*TINY, "trainer.max_steps=1000000"]
"""A training that still runs when the last of the others is refused."""

REFUSED, SAVED = 6, 143
"""Exit codes: of a run whose directory another process writes, and of one that SIGTERM ended."""


def trial(folder: Path) -> Verdict:
    """Whole trainings that start together; the one that runs saves its state in the end."""
    starts = [Forked(ENDLESS, folder / "runs", folder / str(i)) for i in range(STARTS)]
    over = [start for start in starts if start.wait_until(lambda start=start: bool(start.steps))]
    refused = sum(
        start.end() == REFUSED and "is being written by process" in start.said
        for start in starts
        if start not in over
    )
    for start in over:
        start.send(signal.SIGTERM)
    saved = sum(start.end() == SAVED for start in over)
    line = (
        f"{len(over)} of {STARTS} concurrent starts runs, {refused} are refused by the lock; "
        f"{saved} saved its state when it was asked to end"
    )
    return Verdict(len(over) == saved == 1 and refused == STARTS - 1, line)
