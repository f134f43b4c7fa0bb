"""What the operators cost: A, A*, A*A, the solve of a prox, and the draw of the law.

Prints medians in milliseconds on batches of 8 images of 1 x 64 x 64, and the operator calls of an
unfolded network of 8 iterations of HQS under a blur without boundary conditions, forward and
backward:

    python benchmarks/physics.py [--repeats 20] [--threads 1]

Where deepinv is installed, its operators of the same mathematics stand beside ours.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.algorithms.hqs import HQS
from unfold.denoisers.dncnn import DnCNN
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.physics.block_compressed_sensing import BlockCompressedSensing
from unfold.physics.blur import Blur, ValidBlur
from unfold.physics.compressed_sensing import CompressedSensing, SinglePixel
from unfold.physics.inpainting import Inpainting
from unfold.physics.kernels import GaussianKernel
from unfold.physics.law import Physics
from unfold.physics.mri import MRI, MultiCoilMRI
from unfold.physics.noise import Gaussian
from unfold.physics.operator import Operator
from unfold.physics.sampling import RandomColumns
from unfold.physics.super_resolution import SuperResolution
from unfold.physics.tomography import Tomography
from unfold.physics.valid_convolution import ValidConvolution
from unfold.priors.pnp import PnP
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

BATCH, SHAPE = 8, (1, 64, 64)
NOISE = Gaussian(0.02)
KERNEL = GaussianKernel(13, 1.6)
LAWS: dict[str, Physics] = {
    "inpainting": Inpainting(NOISE, 0.5),
    "blur": Blur(NOISE, KERNEL),
    "valid blur": ValidBlur(NOISE, KERNEL),
    "super-resolution": SuperResolution(NOISE, KERNEL, 2),
    "mri": MRI(NOISE, RandomColumns()),
    "mri, 4 coils": MultiCoilMRI(NOISE, RandomColumns()),
    "tomography": Tomography(NOISE, 60),
    "compressed sensing": CompressedSensing(NOISE, 0.25),
    "blocks of 16": BlockCompressedSensing(NOISE, 16, 0.25),
    "single pixel": SinglePixel(NOISE, 0.25),
}


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """The median time of a call, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def row(physics: Physics, repeats: int) -> list[float]:
    """The five times of one law."""
    draws = Draws(0, range(BATCH))
    x = draws.uniform("images", SHAPE)
    operator = physics.sample(draws, SHAPE)
    y = operator.A(x)
    calls: list[Callable[[], object]] = [
        lambda: physics.sample(draws, SHAPE),
        lambda: operator.A(x),
        lambda: operator.A_adjoint(y),
        lambda: operator.normal(x),
        lambda: operator.solve_normal(x, 1.0),
    ]
    return [milliseconds(call, repeats) for call in calls]


@dataclass
class Calls:
    """How often A and A* were applied."""

    count: int = 0


@contextmanager
def counted(family: type[Operator]) -> Iterator[Calls]:
    """Count the applications of A and A* of a family of operators."""
    calls, held = Calls(), (family.forward, family.adjoint)

    def counting(method: Callable[[Operator, Tensor], Tensor]) -> Callable[..., Tensor]:
        def call(self: Operator, t: Tensor) -> Tensor:
            calls.count += 1
            return method(self, t)

        return call

    family.forward, family.adjoint = (counting(method) for method in held)  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        family.forward, family.adjoint = held  # type: ignore[method-assign]


def hqs_calls() -> tuple[int, int]:
    """(forward, forward and backward) applications of A and A* in 8 iterations of HQS."""
    net = Reconstructor(HQS(), PnP(DnCNN(channels=1)), L2(), Unfolded(8))
    draws = Draws(0, range(BATCH))
    x = draws.uniform("images", SHAPE)
    y, operator = LAWS["valid blur"].measure(x, draws)
    _ = operator.norm_squared
    with counted(ValidConvolution) as calls:
        loss = (net(y, operator) - x).square().mean()
        forward = calls.count
        loss.backward()
    return forward, calls.count


def peer(repeats: int) -> dict[str, list[float]]:
    """A and A* of deepinv, where its operators are the same mathematics."""
    import deepinv

    x = torch.rand(BATCH, *SHAPE)
    kernel = KERNEL.draw(Draws(0, range(1)))
    found = {
        "inpainting": deepinv.physics.Inpainting(SHAPE, mask=0.5),
        "blur": deepinv.physics.Blur(filter=kernel, padding="circular"),
        "valid blur": deepinv.physics.Blur(filter=kernel, padding="valid"),
    }
    times = {}
    for name, physics in found.items():
        y = physics.A(x)
        calls = (lambda p=physics: p.A(x), lambda p=physics, v=y: p.A_adjoint(v))
        times[name] = [milliseconds(call, repeats) for call in calls]
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    print(f"{'ms':20}{'draw':>10}{'A':>10}{'A*':>10}{'A*A':>10}{'solve':>10}")
    with torch.no_grad():
        for name, physics in LAWS.items():
            print(f"{name:20}" + "".join(f"{t:10.2f}" for t in row(physics, words.repeats)))
        if importlib.util.find_spec("deepinv") is None:
            print("deepinv is not installed: no comparison")
        else:
            for name, times in peer(words.repeats).items():
                print(f"deepinv {name:22}" + "".join(f"{t:10.2f}" for t in times))
    forward, both = hqs_calls()
    print(f"8 iterations of HQS, valid blur: {forward} calls of A and A*, {both} with the backward")


if __name__ == "__main__":
    main()
