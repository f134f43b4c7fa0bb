"""The cost of everything but the networks, and the gain of memory layout and half precision.

Prints medians of paired, interleaved ratios for one training step of PGD × DnCNN (7 layers, 32
channels), 5 iterations, batches of 8 images of 64×64, circular blur:

    python benchmarks/speed.py [--pairs 50] [--threads 2]

The floor is the chain of the same number of bare network calls, forward and backward.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from unfold.algorithms.pgd import PGD
from unfold.cli.runtime import keep_freed_memory
from unfold.data.image_data import EmbeddedData
from unfold.denoisers.denoiser import Denoiser, InHalfPrecision
from unfold.denoisers.dncnn import DnCNN
from unfold.fidelities.l2 import L2
from unfold.initialization import Regularised
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.training.checkpoints.weights import embedded_weights, load_prior_weights
from unfold.training.fit import keep_channels_last
from unfold.typing import Image, Scalar

ITERATIONS = 5
SHAPE = (8, 1, 64, 64)


class IdentityDenoiser(Denoiser):
    """D(v) = v: a step without the cost of the network."""

    channels = 1

    def forward(self, v: Image, sigma: Scalar) -> Image:
        return v


def seconds(step: Callable[[], None]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def chain(network: DnCNN, x: Tensor, *, half: bool = False) -> Callable[[], None]:
    """The floor: the bare network, called as often, forward and backward."""
    denoiser = InHalfPrecision(network) if half else network

    def step() -> None:
        v = x
        for _ in range(ITERATIONS):
            v = denoiser(v, 0.05)
        (v - x).square().mean().backward()

    return step


def training_step(denoiser: Denoiser, x: Tensor, *, layout: str, half: bool) -> Callable[[], None]:
    """Measure, reconstruct, compare, differentiate."""
    physics = Blur(noise=Gaussian(0.02), kernel=GaussianKernel(size=9, sigma=(0.8, 2.0)))
    net = Reconstructor(PGD(), PnP(denoiser), L2(), Unfolded(ITERATIONS))
    if layout == "channels_last":
        keep_channels_last(net)
    net.half_precision = half
    draws = Draws(0, range(len(x)))

    def step() -> None:
        y, operator = physics.measure(x, draws)
        (net(y, operator) - x).square().mean().backward()

    return step


def psnr(*, half: bool) -> float:
    """The mean PSNR of the validation photographs, in dB, with the packaged network."""
    physics = Blur(noise=Gaussian(0.02), kernel=GaussianKernel(size=9, sigma=1.5))
    x = torch.stack([image for _, image in EmbeddedData(seed=0).images("validation")])
    y, operator = physics.measure(x, Draws(0, range(len(x)), "validation"))
    denoiser = DnCNN(1)
    weights = embedded_weights(denoiser)
    assert weights is not None
    load_prior_weights(denoiser, weights)
    net = Reconstructor(PGD(), PnP(denoiser), L2(), Unfolded(ITERATIONS), Regularised(0.02))
    net.half_precision = half
    with torch.no_grad():
        error = (net(y, operator) - x).square().mean((1, 2, 3))
    return float((-10 * torch.log10(error)).mean())


def compare(
    first: Callable[[], None], second: Callable[[], None], pairs: int
) -> tuple[float, float]:
    """The median of first/second over interleaved pairs, and the median time of the second."""
    first(), second()
    ratios, times = [], []
    for i in range(pairs):
        order = (first, second) if i % 2 else (second, first)
        took = {step: seconds(step) for step in order}
        ratios.append(took[first] / took[second])
        times.append(took[second])
    return statistics.median(ratios), statistics.median(times)


def main() -> None:
    """Print the ratios and their bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.rand(SHAPE)
    floor = chain(DnCNN(1), x)
    last = DnCNN(1)
    keep_channels_last(last)
    cases = {
        "everything but the networks (bar 0.03)": training_step(
            IdentityDenoiser(), x, layout="", half=False
        ),
        "whole step, contiguous": training_step(DnCNN(1), x, layout="", half=False),
        "whole step, channels_last (bar 0.90)": training_step(
            DnCNN(1), x, layout="channels_last", half=False
        ),
        "whole step, channels_last + bf16 (bar 0.45 with AVX512_BF16)": training_step(
            DnCNN(1), x, layout="channels_last", half=True
        ),
        "bare networks, channels_last + bf16: the floor of the row above": chain(
            last, x, half=True
        ),
    }
    print(f"{options.pairs} pairs, {options.threads} threads, batch {SHAPE}, K = {ITERATIONS}")
    for name, step in cases.items():
        ratio, time_of_floor = compare(step, floor, options.pairs)
        print(f"{ratio:7.3f}  {name}   [floor {1e3 * time_of_floor:.0f} ms]", flush=True)
    full, half = psnr(half=False), psnr(half=True)
    print(f"{half - full:+7.3f}  dB of PSNR by bf16 networks, from {full:.2f} dB in float32")


if __name__ == "__main__":
    main()
