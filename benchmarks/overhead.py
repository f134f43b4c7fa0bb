"""The overhead of the safeguards of training: measured one by one, and summed.

Prints the time of each, and last the ratio of a safeguarded step to the bare step; the exit code
is 1 where that is above the bar:

    python benchmarks/overhead.py [--steps 20] [OVERRIDES ...]

The bare step is that of the configuration: measure, reconstruct, compare, differentiate, update.
The safeguards are the check of all gradients, draws per image instead of from one generator, and
the checkpoint that is saved every `trainer.checkpoint_every` steps.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from unfold.config.build import build, build_training, verify
from unfold.config.compose import compose
from unfold.data.example import Batch
from unfold.physics.base import Examples
from unfold.random import Draws
from unfold.training.checkpoints.weights import write_checkpoint
from unfold.training.guard.guard import failures
from unfold.training.module import Training

BAR = 1.03


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of a call, after a warm-up."""
    work()
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def bare_step(
    training: Training, optimizer: torch.optim.Optimizer, batch: Batch
) -> Callable[[], None]:
    """One step without safeguards."""

    def step() -> None:
        optimizer.zero_grad()
        _, loss = training.compare(batch, "train")
        loss.backward()
        optimizer.step()

    return step


def main() -> int:
    """Print the times, and the ratio last; 1 where it is above the bar, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    (checked,) = verify(compose(options.overrides))
    parts = build(checked)
    training = build_training(checked, parts)
    net = parts.reconstructor
    optimizer = training.optimizer.build(p for p in net.parameters() if p.requires_grad)
    images = next(iter(parts.data.train_loader())).images
    batch = Batch(Examples(images), torch.arange(len(images)), 0)
    bare = seconds(bare_step(training, optimizer, batch), options.steps)

    draws, shape = Draws(0, tuple(range(len(images))), "train"), tuple(images.shape[1:])
    keyed = seconds(lambda: draws.normal("noise", shape), 50)
    plain = seconds(lambda: torch.randn(images.shape), 50)
    state = {"weights": net.state_dict(), "optimizer": optimizer.state_dict()}
    with tempfile.TemporaryDirectory() as folder:
        saved = seconds(lambda: write_checkpoint(state, Path(folder) / "last.ckpt"), 10)
    size = io.BytesIO()
    torch.save(state, size)
    every = parts.trainer.checkpoint_every
    guards = {
        "check of all gradients": seconds(lambda: failures(net).tolist(), 50),
        "draws per image": max(0.0, keyed - plain),
        f"checkpoint of {size.tell() / 1e6:.2f} MB, every {every} steps": saved / every,
    }
    print(f"{1e3 * bare:9.3f} ms  bare step of {len(images)} images of {shape}")
    for name, took in guards.items():
        print(f"{1e3 * took:9.3f} ms  {name}: {took / bare:.2%}")
    ratio = 1 + sum(guards.values()) / bare
    print(verdict(ratio))
    return int(ratio > BAR)


def verdict(ratio: float) -> str:
    """The last line: the figure, the bar, and whether it holds."""
    held = "holds" if ratio <= BAR else "MISSED"
    return f"{ratio:9.4f}  times the bare step with all guards (bar {BAR}: {held})"


if __name__ == "__main__":
    sys.exit(main())
