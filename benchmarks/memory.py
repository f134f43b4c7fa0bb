"""Memory of an equilibrium over its iterations and over training, and of checkpointing.

Prints each value and its bar:

    python benchmarks/memory.py [--size 32] [--pairs 5]

Peaks are of the tensors alive at one time, independent of the allocator; growth over
training steps is that of the resident memory of the process.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from unfold.algorithms.pgd import PGD
from unfold.denoisers.dncnn import DnCNN
from unfold.evaluation.gradients import PeakMemory
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.model import Model
from unfold.models.unfolded import Checkpoint, Full, Unfolded
from unfold.physics.blur.convolution import CircularConvolution
from unfold.priors.denoiser_priors import PnP
from unfold.reconstructor import Reconstructor
from unfold.solvers.result import ConvergenceWarning

ITERATIONS = 40
STEPS = 30


def training_step(model: Model, size: int, images: int = 1) -> Callable[[], None]:
    """Reconstruct, compare, differentiate: PGD with DnCNN 7/32 and a blur."""
    torch.manual_seed(0)
    x = torch.rand(images, 1, size, size)
    A = CircularConvolution(torch.full((1, 1, 5, 5), 1 / 25), (1, size, size))
    y = A.A(x)
    net = Reconstructor(PGD(), PnP(DnCNN(1)), L2(), model)

    def step() -> None:
        net.zero_grad()
        (net(y, A) - x).square().mean().backward()

    return step


def peak(step: Callable[[], None]) -> int:
    """The most bytes of the tensors of one step."""
    step()  # the gradients exist from here on
    with PeakMemory() as memory:
        step()
    return memory.bytes


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def growth(step: Callable[[], None]) -> int:
    """Bytes by which the process grows over the last 25 of 30 steps."""
    sizes = []
    for _ in range(STEPS):
        step()
        sizes.append(resident())
    return sizes[-1] - sizes[4]


def time_ratio(first: Callable[[], None], second: Callable[[], None], pairs: int) -> float:
    """The median of first/second over interleaved pairs."""
    ratios = []
    for _ in range(pairs):
        took = []
        for step in (first, second):
            start = time.perf_counter()
            step()
            took.append(time.perf_counter() - start)
        ratios.append(took[0] / took[1])
    return statistics.median(ratios)


def main() -> None:
    """Print the values and their bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # 1,000 iterations are intended
    few, many = (
        peak(training_step(DEQ(tol=1e-30, max_iterations=n), options.size)) for n in (10, 1000)
    )
    print(f"{few / 1e6:8.1f}  MB at the peak of an equilibrium step of 10 iterations")
    print(f"{many / few:8.3f}  times as much at 1,000 (bar 1.05)")
    grown = growth(training_step(DEQ(), options.size))
    print(f"{grown / 1e6:8.1f}  MB of growth over {STEPS} equilibrium steps (bar 8)")
    full = training_step(Unfolded(ITERATIONS, Full()), options.size, 2)
    kept = training_step(Unfolded(ITERATIONS, Checkpoint()), options.size, 2)
    share = peak(kept) / peak(full)
    print(f"{share:8.3f}  of the memory of {ITERATIONS} iterations with checkpoints (bar 0.1)")
    ratio = time_ratio(kept, full, options.pairs)
    print(f"{ratio:8.2f}  times the time (bar 1.4)")


if __name__ == "__main__":
    main()
