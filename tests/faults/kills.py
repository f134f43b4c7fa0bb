"""Trainings killed at random moments, again and again, against one that is left alone."""

import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.faults.damage import damaged
from tests.faults.forked import Forked
from tests.faults.training import STEPS, WORDS, Verdict, differences, directory, finish, say
from tests.faults.ways import History, Start
from unfold.training.checkpoints.checksum import LAST, newest_checkpoint
from unfold.training.checkpoints.weights import read_checkpoint

KILLS = 3
PART = STEPS // (KILLS + 1)
SAMPLES = 80
"""Of an epoch, which is 20 steps."""

EVERY = (1, 4, 5, 7)
"""Steps between two training states: at, next to and far from the ends of epochs."""

WORKERS = (0, 2)
TERMINATED, PREEMPTED = 143, "preempted"


class Killed(NamedTuple):
    """One start that was killed.

    signal: what was sent; None where the run had ended before.
    step: of the newest training state that it left; None where there is none yet.
    wrong: what is wrong with its end, in words.
    """

    signal: signal.Signals | None
    step: int | None
    wrong: tuple[str, ...]


class Chain(NamedTuple):
    """One run that was killed and started again until it ended.

    kills: its starts that were killed.
    history: the steps of all its starts.
    different: the files that are not those of the run that was left alone.
    """

    kills: list[Killed]
    history: History
    different: list[str]

    @property
    def survived(self) -> bool:
        return not self.different and not self.history.faults


def saved_step(runs: Path) -> int | None:
    """The step of the newest state that is whole; None before there is one."""
    for path in runs.glob("*/*/checkpoints"):
        found = newest_checkpoint(path).path
        return None if found is None else int(read_checkpoint(found)["global_step"])
    return None


def begin(folder: Path, words: list[str], history: History) -> Forked:
    """Start, or resume."""
    history.starts.append(Start(saved_step(folder / "runs") or 0, []))
    return Forked(words, folder / "runs", folder / f"start{len(history.starts)}")


def kill_once(
    folder: Path, words: list[str], history: History, draw: random.Random, step: int
) -> Killed:
    """Start, and kill at a random moment of the next steps."""
    process = begin(folder, words, history)
    assert process.claims(), process.said
    process.wait_until(lambda: _reached(process, step))
    time.sleep(draw.uniform(0, 0.1))
    number = draw.choice((signal.SIGKILL, signal.SIGTERM))
    alive = process.code is None
    if alive:
        process.send(number)
    code = process.end()
    history.starts[-1].steps.extend(process.steps)
    saved = saved_step(folder / "runs")
    wrong = _wrong_end(number, code, folder / "runs", process, saved or 0) if alive else ()
    return Killed(number if alive else None, saved, tuple(wrong))


def _reached(process: Forked, step: int) -> bool:
    steps = process.steps
    return step == 0 or bool(steps and steps[-1].step >= step)


def _wrong_end(
    number: signal.Signals, code: int, runs: Path, process: Forked, saved: int
) -> list[str]:
    if number is signal.SIGKILL:
        return [] if code == -number else [f"exit {code} after SIGKILL"]
    wrong = [] if code == TERMINATED else [f"exit {code} after SIGTERM"]
    state = json.loads((directory(runs) / "status.json").read_text())["state"]
    if state != PREEMPTED:
        wrong.append(f"status {state} after SIGTERM")
    if process.steps and saved < process.steps[-1].step:
        wrong.append(f"state of step {saved} after SIGTERM in step {process.steps[-1].step}")
    return wrong


def chain(whole: Path, folder: Path, number: int, seed: int) -> Chain:
    """Kill one run three times, damage its newest state in every third, and let it end."""
    draw, history = random.Random(f"{seed} {number}"), History([])
    every, workers = EVERY[number % len(EVERY)], WORKERS[number // 2 % len(WORKERS)]
    rest = [word for word in WORDS if not word.startswith("trainer.checkpoint_every=")]
    words = [*rest, f"data.workers={workers}", f"trainer.checkpoint_every={every}"]
    moments = [draw.randrange(k * PART, (k + 1) * PART) for k in range(KILLS)]
    kills = [kill_once(folder, words, history, draw, moment) for moment in moments]
    run = directory(folder / "runs")
    newest = run / "checkpoints" / LAST
    if number % 3 == 2 and newest.exists():
        newest.write_bytes(damaged(newest.read_bytes(), draw))
    last = begin(folder, words, history)
    ended = last.end()
    history.starts[-1].steps.extend(last.steps)
    different = differences(whole, run) if ended == 0 else [f"exit {ended}: {last.said}"]
    found = Chain(kills, history, different)
    shown = ", ".join(f"{k.signal.name if k.signal else 'over'}@{k.step}" for k in kills)
    wrong = [*different, *history.faults, *(text for k in kills for text in k.wrong)]
    say(f"run {number}: {shown}; {workers} workers; {'; '.join(wrong) or 'bit-identical'}")
    return found


def trial(folder: Path, seed: int, runs: int, jobs: int) -> Verdict:
    """Every run ends with the bits of the one that was left alone, in the same steps.

    Args:
        folder: for the runs.
        seed: of the moments and the signals.
        runs: how many, three kills each.
        jobs: how many at a time.
    """
    whole = finish(folder / "whole")
    with ThreadPoolExecutor(jobs) as pool:
        chains = list(pool.map(lambda i: chain(whole, folder / str(i), i, seed), range(runs)))
    kills = [one for each in chains for one in each.kills if one.signal is not None]
    survived = sum(one.signal is not None for each in chains if each.survived for one in each.kills)
    terminated = [one for one in kills if one.signal is signal.SIGTERM]
    wrong = sum(bool(one.wrong) for one in kills)
    chained = sum(sum(start.first > 0 for start in each.history.starts) >= 2 for each in chains)
    lost = sum(each.history.lost(STEPS) for each in chains)
    repeated = sum(each.history.repeated for each in chains)
    odd = sum(each.history.samples_not_once(SAMPLES) for each in chains)
    line = (
        f"{survived} of {KILLS * runs} kills survived, {KILLS} per run; {chained} chains of two "
        f"resumes or more with {lost} steps lost and {repeated} repeated, {odd} samples not once "
        f"in their epoch; {len(terminated)} SIGTERM and {wrong} wrong ends"
    )
    whole_count = survived == len(kills) == KILLS * runs
    return Verdict(whole_count and not (wrong or lost or repeated or odd), line)
