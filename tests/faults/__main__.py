"""What a run survives: `python -m tests.faults [NAME...] [--runs 34] [--jobs 2] [--seed 0]`.

Each trial ends in one line with its figure; the exit code is 1 where one of them misses its bar.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.faults import atomic, collision, damage, ddp, disk, fuzz, history, kills, sweep
from tests.faults.training import Verdict, say


def main(words: list[str]) -> int:
    """Run the trials that are named, all where none is."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=34, help="that are killed three times each")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0)
    # Not `choices`: argparse refuses no name at all with them.
    parser.add_argument(
        "names", nargs="*", help="damage, atomic, disk, collision, history, sweep, ddp, kills, fuzz"
    )
    given = parser.parse_args(words)
    trials: Mapping[str, Callable[[Path], Verdict]] = {
        "damage": lambda folder: damage.trial(folder, given.seed),
        "atomic": lambda folder: atomic.trial(folder, given.seed),
        "disk": lambda folder: disk.trial(folder, given.seed, given.jobs),
        "collision": collision.trial,
        "history": lambda folder: history.trial(folder, given.seed),
        "sweep": sweep.trial,
        "ddp": ddp.trial,
        "kills": lambda folder: kills.trial(folder, given.seed, given.runs, given.jobs),
        "fuzz": lambda folder: fuzz.trial(folder, given.seed, given.jobs),
    }
    unknown = [name for name in given.names if name not in trials]
    if unknown:
        parser.error(f"no such trial: {', '.join(unknown)}; there are {', '.join(trials)}")
    missed = 0
    for name in given.names or trials:
        with tempfile.TemporaryDirectory() as folder:
            verdict = trials[name](Path(folder))
        missed += not verdict.holds
        say(f"{name}{'' if verdict.holds else ' MISSED'}: {verdict.line}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
