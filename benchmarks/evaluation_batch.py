"""Evaluation in batches against one image at a time: the default network and total variation.

    python benchmarks/evaluation_batch.py [--sides 64 128 256 512] [--images 12] [--size 8]

Prints, for each side in pixels, CPU seconds one by one, in the batches that an evaluation makes,
and in full ones, the least of three; and whether the images of all three are bit-identical.
"""

import argparse
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

import unfold
from unfold.cli.runtime import keep_freed_memory
from unfold.data.example import Example
from unfold.data.image_data import EmbeddedData
from unfold.evaluation.base import Case, ImageBatch, batches, measure
from unfold.evaluation.baselines import total_variation
from unfold.models.classical import Classical


def timed(groups: list[ImageBatch], solve: Callable[[Case], Tensor]) -> tuple[float, Tensor]:
    """The CPU seconds of the reconstructions of all batches, and these."""
    cases = [measure(PHYSICS, one, 0, "test") for one in groups]
    start = time.process_time()
    with torch.no_grad():
        found = [solve(case) for case in cases]
    return time.process_time() - start, torch.cat(found)


def compare(
    named: Iterable[tuple[str, Example]], size: int, solve: Callable[[Case], Tensor]
) -> str:
    """The least seconds of three runs of each grouping, interleaved."""
    named = list(named)
    kinds = [
        list(batches(named, 1)),
        list(batches(named, size)),
        list(batches(named, size, "full")),
    ]
    runs = [[timed(groups, solve) for groups in kinds] for _ in range(3)]
    least = [min(run[i][0] for run in runs) for i in range(3)]
    same = all(torch.equal(one, runs[0][0][1]) for run in runs for _, one in run)
    return " ".join(f"{s:8.2f}" for s in least) + f"   {'bit-identical' if same else 'differ'}"


def main() -> None:
    """Print a line for each method and side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--size", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    photographs = [
        one.image
        for split in ("train", "validation", "test")
        for _, one in EmbeddedData(0).examples(split)
    ]
    model = Classical(tol=1e-30, max_iterations=30)
    methods = {
        "network": lambda c: NET.solve(c.y, c.operator, noise_level=c.noise_level).image,
        "tv": lambda c: total_variation(c.y, c.operator, torch.tensor([0.01]), model).image,
    }
    print(f"{'':12} one by one, as evaluated, {options.size} at a time")
    for side in options.sides:
        chosen = [photographs[i % len(photographs)] for i in range(options.images)]
        shown = [Example(interpolate(x[None], (side, side))[0]) for x in chosen]
        for name, solve in methods.items():
            print(
                f"{name:8}{side:4}",
                compare(((str(i), e) for i, e in enumerate(shown)), options.size, solve),
            )


if __name__ == "__main__":
    BUILT = unfold.build()
    PHYSICS, NET = BUILT.physics, BUILT.reconstructor.eval()
    main()
