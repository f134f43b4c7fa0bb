"""Trainings that are killed at random, again and again, against one that is left alone.

`python -m tests.faults [RUNS] [SEED]`: every run is killed three times, with SIGKILL or SIGTERM, at
random moments of its training, and started again by the same command; then its weights, training
state, curves and scores must have the bits of the uninterrupted run. Some runs have their newest
checkpoint damaged between two starts.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from unfold.training.checkpoint import read_checkpoint
from unfold.training.seal import LAST, damage

ROOT = Path(__file__).parents[2]
KILLS = 3
STEPS = 150
PART = STEPS // (KILLS + 1)
DAMAGES = 2_000
SETTINGS = f"""
evaluation=none data.crop=16 data.batch_size=4 data.crops_per_image=10 prior.weights=null
prior.denoiser.depth=2 prior.denoiser.width=8 model.iterations=2 trainer.max_steps={STEPS}
trainer.log_every=1 trainer.threads=1 trainer.progress=false trainer.checkpoint_every=5
trainer.accelerator=cpu trainer.ema=0.9
"""
WORDS = SETTINGS.split()


class Killed(NamedTuple):
    """One start that was killed.

    signal: what was sent; None where the run had ended before.
    step: of the newest training state that it left; None where there is none yet.
    code: of the exit.
    """

    signal: signal.Signals | None
    step: int | None
    code: int


def start(runs: Path) -> subprocess.Popen[str]:
    """The training, as a user starts it, up to the moment where it claims its directory."""
    process = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "train.py"), *WORDS, f"runs_dir={runs}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert process.stdout is not None
    for line in process.stdout:
        assert not line.startswith("error"), line
        if line.startswith("run "):
            break
    return process


def finish(runs: Path) -> None:
    """Let a training end."""
    process = start(runs)
    out, _ = process.communicate()
    assert process.returncode == 0, out


def directory(runs: Path) -> Path:
    (path,) = runs.glob("*/*/status.json")
    return path.parent


def kill_once(runs: Path, draw: random.Random, step: int) -> Killed:
    """Start, and kill at a random moment of the next steps."""
    process = start(runs)
    log = directory(runs) / "metrics.csv"
    while process.poll() is None and done(log) < step:
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.1))
    number = draw.choice((signal.SIGKILL, signal.SIGTERM))
    alive = process.poll() is None
    if alive:
        process.send_signal(number)
    process.communicate()
    last = directory(runs) / "checkpoints" / LAST
    saved = read_checkpoint(last)["global_step"] if last.exists() else None
    return Killed(number if alive else None, saved, process.returncode)


def done(log: Path) -> int:
    """The steps whose rows are written."""
    return len(log.read_bytes().splitlines()) - 1 if log.exists() else 0


def damage_newest(runs: Path, draw: random.Random) -> bool:
    """Cut the newest state short, or flip a bit of it; whether there was one."""
    path = directory(runs) / "checkpoints" / LAST
    if not path.exists():
        return False
    path.write_bytes(damaged(path.read_bytes(), draw))
    return True


def damaged(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.5:
        return content[: draw.randrange(len(content))]
    flipped = bytearray(content)
    flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def differences(one: Path, other: Path) -> list[str]:
    """The files of two finished runs that are not the same."""
    names = ("weights.safetensors", "metrics.csv", "results.json")
    found = [n for n in names if (one / n).read_bytes() != (other / n).read_bytes()]
    states = [read_checkpoint(path / "checkpoints" / LAST) for path in (one, other)]
    return found if equal(*states) else [*found, LAST]


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def main(runs: int, seed: int) -> int:
    """All trials; 0 where every one of them holds."""
    draw = random.Random(seed)
    kills = wrong = damages = codes = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        finish(whole)
        for i in range(runs):
            mine = Path(folder) / str(i)
            found = []
            for k in range(KILLS):
                found.append(kill_once(mine, draw, draw.randrange(k * PART, (k + 1) * PART)))
                codes += found[-1].signal is signal.SIGTERM and found[-1].code not in (143, -15)
                if i % 3 == 2 and k == KILLS - 1:
                    damages += damage_newest(mine, draw)
            finish(mine)
            bad = differences(directory(whole), directory(mine))
            kills += sum(one.signal is not None for one in found)
            wrong += bool(bad)
            steps = [f"{one.signal.name if one.signal else 'over'}@{one.step}" for one in found]
            resumed = json.loads((directory(mine) / "status.json").read_text())["resumed"]
            say(f"run {i}: {', '.join(steps)}; {resumed} resumes; {', '.join(bad) or 'same bits'}")
        content = (directory(whole) / "checkpoints" / LAST).read_bytes()
        missed = sum(damage(damaged(content, draw)) is None for _ in range(DAMAGES))
    say(f"{DAMAGES - missed} of {DAMAGES} damaged checkpoints found, {damages} of them in use")
    say(f"{codes} wrong exit codes after SIGTERM")
    say(f"{runs - wrong} of {runs} runs end with the same bits after {kills} kills")
    return int(bool(wrong or missed or codes))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*given, *(8, 0)[len(given) :]))
