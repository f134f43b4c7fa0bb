"""What the operators cost, beside those of deepinv.

Prints, on batches of 8 images of 1 x 64 x 64 in float32, medians in milliseconds of A, A*, A*A and
of the prox of ½‖Ax − y‖², and their ratio to deepinv; the sampling of every physics; and the
operator calls of an unfolded network of 8 iterations of HQS under a blur without boundary
conditions. The last line is the verdict: nowhere slower, and 1.5 times faster in A*A or in the prox
where there is a closed form.

    python benchmarks/physics.py [--repeats 40] [--threads 1]

The two libraries take turns, and the ratio is the median over the turns. The prox is that of an
iteration: A*y is known here once for a batch, deepinv computes it at every call. The iterative
solves of both begin at z and stop at a relative residual of 1e-6. Where deepinv is not installed,
ours stand alone.
"""

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from operator_pairs import BATCH, NOISE, SHAPE, Pair, pairs
from torch import Tensor

from unfold.algorithms.hqs import HQS
from unfold.denoisers.dncnn import DnCNN
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.physics.base import Physics
from unfold.physics.blur.blur import Blur, ValidBlur
from unfold.physics.blur.convolution import ValidConvolution
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.ct.tomography import FanBeamTomography, Tomography
from unfold.physics.inpainting import Inpainting
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.operator import Operator
from unfold.physics.sensing.compressed import CompressedSensing, SinglePixel
from unfold.physics.sensing.gaussian import BlockCompressedSensing
from unfold.priors.denoiser_priors import PnP
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

KERNEL = GaussianKernel(13, 1.6)
PHYSICS: dict[str, Physics] = {
    "inpainting": Inpainting(NOISE, 0.5),
    "blur": Blur(NOISE, KERNEL),
    "valid blur": ValidBlur(NOISE, KERNEL),
    "super-resolution": SuperResolution(NOISE, KERNEL, 2),
    "mri": MRI(NOISE, RandomColumns()),
    "mri, 4 coils": MultiCoilMRI(NOISE, RandomColumns()),
    "tomography": Tomography(NOISE, 60),
    "fan beam": FanBeamTomography(NOISE, 60),
    "compressed sensing": CompressedSensing(NOISE, 0.25),
    "blocks of 16": BlockCompressedSensing(NOISE, 16, 0.25),
    "single pixel": SinglePixel(NOISE, 0.25),
}
METHODS = ("A", "A*", "A*A", "prox")
FASTER = 1.5
"""Required of A*A or of the prox, whichever gains more, where there is a closed form."""
NOISE_FLOOR = 0.97
"""Ratios of equal work spread by 3 % from run to run."""

Call = Callable[[], object]


def seconds(call: Call, times: int) -> float:
    """CPU time of one of several calls: other processes of the machine do not count."""
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times


def milliseconds(call: Call, repeats: int) -> float:
    """The median time of a call, after one that warms up."""
    call()
    return 1e3 * statistics.median(seconds(call, 1) for _ in range(repeats))


def compare(ours: Call, theirs: Call, repeats: int) -> tuple[float, float, float]:
    """Milliseconds of ours and of theirs, and the median of theirs over ours in a turn."""
    for call in (ours, theirs):
        call()
    times = max(1, round(5e-3 / max(seconds(ours, 3), 1e-6)))
    turns = [(seconds(ours, times), seconds(theirs, times)) for _ in range(repeats)]
    ratio = statistics.median(b / a for a, b in turns)
    mine, other = (statistics.median(values) for values in zip(*turns, strict=True))
    return 1e3 * mine, 1e3 * other, ratio


def calls_of(pair: Pair) -> dict[str, tuple[Call, Call]]:
    """The same computations on both sides."""
    A, B, x, v = pair.ours, pair.theirs, pair.x, pair.held(pair.x)
    y, w = A.A(x), B.A(v)
    data = data_term(L2(), A, y)
    z = x.flip(0)  # another image than the measured one, of which the prox would be known
    calls: dict[str, tuple[Call, Call]] = {
        "A": (lambda: A.A(x), lambda: B.A(v)),
        "A*": (lambda: A.A_adjoint(y), lambda: B.A_adjoint(w)),
        "A*A": (lambda: A.normal(x), lambda: B.A_adjoint_A(v)),
        "prox": (
            lambda: data.prox(z, 1.0),
            lambda: B.prox_l2(pair.held(z), w, 1.0, max_iter=1000, tol=1e-6),
        ),
    }
    return {method: both for method, both in calls.items() if method not in pair.wrong}


def check(pair: Pair) -> None:
    """Refuse to compare the times of different computations."""
    for method, (ours, theirs) in calls_of(pair).items():
        if method in ("A*A", "prox") and pair.same:
            a, b = pair.held(torch.as_tensor(ours())), torch.as_tensor(theirs())
            gap = float((a - b).norm() / b.norm())
            assert gap < 1e-4, f"{pair.name}, {method}: the two differ by {gap:.1e}"


def cell(figures: tuple[float, float, float] | None) -> str:
    """Ours, theirs and their ratio; a dash where theirs does not compute the same."""
    if figures is None:
        return f"{'-':>12}{'wrong':>9}{'-':>7}"
    return "{:12.3f}{:9.3f}{:7.2f}".format(*figures)


def side_by_side(repeats: int) -> list[str]:
    """Print the comparison; returns what misses the bars."""
    missed = []
    head = "".join(f"{f'{m}: ours':>12}{'deepinv':>9}{'ratio':>7}" for m in METHODS)
    print(f"{'ms':18}{head}")
    for pair in pairs():
        check(pair)
        found = {m: compare(*both, repeats) for m, both in calls_of(pair).items()}
        cells = [found.get(m) for m in METHODS]
        print(f"{pair.name:18}" + "".join(cell(c) for c in cells))
        ratios = {method: r for method, (_, _, r) in found.items()}
        missed += [f"{pair.name} {m} {r:.2f}" for m, r in ratios.items() if r < NOISE_FLOOR]
        best = max(ratios["A*A"], ratios.get("prox", 0.0))
        if pair.closed and best < FASTER:
            missed.append(f"{pair.name} closed form {best:.2f}")
    return missed


def row(physics: Physics, repeats: int) -> list[float]:
    """The five times of one physics."""
    draws = Draws(0, range(BATCH))
    x = draws.uniform("images", SHAPE)
    operator = physics.sample(draws, SHAPE)
    y = operator.A(x)
    calls: list[Call] = [
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
    y, operator = PHYSICS["valid blur"].measure(x, draws)
    _ = operator.norm_squared
    with counted(ValidConvolution) as calls:
        loss = (net(y, operator) - x).square().mean()
        forward = calls.count
        loss.backward()
    return forward, calls.count


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    print(f"{'ms':20}{'draw':>10}{'A':>10}{'A*':>10}{'A*A':>10}{'solve':>10}")
    with torch.no_grad():
        for name, physics in PHYSICS.items():
            print(f"{name:20}" + "".join(f"{t:10.2f}" for t in row(physics, words.repeats)))
    forward, both = hqs_calls()
    print(f"8 iterations of HQS, valid blur: {forward} calls of A and A*, {both} with the backward")
    if importlib.util.find_spec("deepinv") is None:
        print("deepinv is not installed: no comparison")
        return
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        missed = side_by_side(words.repeats)
    verdict = "fails: " + ", ".join(missed) if missed else "holds"
    print(f"nowhere slower, and {FASTER} times faster by the closed forms: {verdict}")


if __name__ == "__main__":
    main()
