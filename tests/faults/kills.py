"""Trainings killed at random moments, again and again, against one that is left alone."""

import json
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.faults.damage import damaged
from tests.faults.training import (
    STEPS,
    Verdict,
    differences,
    directory,
    finish,
    rows_of,
    saved_step,
    say,
    start,
    wait_until,
)
from unfold.training.seal import LAST

KILLS = 3
PART = STEPS // (KILLS + 1)


class Killed(NamedTuple):
    """One start that was killed.

    signal: what was sent; None where the run had ended before.
    step: of the newest training state that it left; None where there is none yet.
    code: of the exit.
    """

    signal: signal.Signals | None
    step: int | None
    code: int


class Chain(NamedTuple):
    """One run that was killed and started again until it ended.

    kills: its starts that were killed.
    different: the files that are not those of the run that was left alone.
    """

    kills: list[Killed]
    different: list[str]

    @property
    def wrong_codes(self) -> int:
        """The exits after SIGTERM that say neither that it was caught, nor that it came early."""
        terminated = [one for one in self.kills if one.signal is signal.SIGTERM]
        return sum(one.code not in (143, -signal.SIGTERM) for one in terminated)


def kill_once(runs: Path, draw: random.Random, step: int) -> Killed:
    """Start, and kill at a random moment of the next steps."""
    process = start(runs)
    run = directory(runs)
    wait_until(lambda: len(rows_of(run)) >= step, process)
    time.sleep(draw.uniform(0, 0.1))
    number = draw.choice((signal.SIGKILL, signal.SIGTERM))
    alive = process.poll() is None
    if alive:
        process.send_signal(number)
    read_to_end(process)
    return Killed(number if alive else None, saved_step(run), process.returncode)


def read_to_end(process: subprocess.Popen[str]) -> str:
    return process.communicate()[0]


def chain(whole: Path, runs: Path, number: int, seed: int) -> Chain:
    """Kill one run three times, damage its newest state in every third, and let it end."""
    draw = random.Random(f"{seed} {number}")
    kills = [kill_once(runs, draw, draw.randrange(k * PART, (k + 1) * PART)) for k in range(KILLS)]
    newest = directory(runs) / "checkpoints" / LAST
    if number % 3 == 2 and newest.exists():
        newest.write_bytes(damaged(newest.read_bytes(), draw))
    run = finish(runs)
    found = Chain(kills, differences(whole, run))
    told = ", ".join(f"{k.signal.name if k.signal else 'over'}@{k.step}" for k in kills)
    resumed = json.loads((run / "status.json").read_text())["resumed"]
    say(f"run {number}: {told}; {resumed} resumes; {', '.join(found.different) or 'same bits'}")
    return found


def trial(folder: Path, seed: int, runs: int, jobs: int) -> Verdict:
    """Every run ends with the bits of the one that was left alone.

    Args:
        folder: for the runs.
        seed: of the moments and the signals.
        runs: how many, three kills each.
        jobs: how many at a time.
    """
    whole = finish(folder / "whole")
    with ThreadPoolExecutor(jobs) as pool:
        chains = list(pool.map(lambda i: chain(whole, folder / str(i), i, seed), range(runs)))
    kills = sum(one.signal is not None for each in chains for one in each.kills)
    same = sum(not each.different for each in chains)
    survived = sum(
        one.signal is not None for each in chains if not each.different for one in each.kills
    )
    codes = sum(each.wrong_codes for each in chains)
    line = f"{survived} of {kills} kills survived: {same} of {runs} runs end with the same bits"
    return Verdict(same == runs and codes == 0, f"{line}, {codes} wrong exit codes after SIGTERM")
