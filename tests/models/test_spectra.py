"""The default equilibrium on maps of random spectra: accurate, or told that it is not."""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, inpainting, normal, problem, uniform
from unfold.algorithms.algorithm import Algorithm
from unfold.models.deq import DEQ
from unfold.models.model import Steps
from unfold.priors.tikhonov import Tikhonov


class Point(NamedTuple):
    x: Tensor


@dataclass(frozen=True)
class Affine(Algorithm[Point]):
    """x⁺ = Mx + b, of any spectrum."""

    M: Any = None
    b: Any = None

    def init(self, problem: Any) -> Point:
        return Point(torch.zeros_like(self.b.detach()))

    def step(self, state: Point, problem: Any) -> Point:
        return Point(state.x @ self.M.mT + self.b)

    def image(self, state: Point) -> Tensor:
        return state.x

    def guarantee(self, problem: Any) -> Any:
        return None


def steps(M: Tensor, b: Tensor) -> Steps:
    return Steps((Affine(M, b), problem(inpainting(2), Tikhonov())))


def spectrum(radius: float, seed: int, symmetric: bool, n: int = 32) -> Tensor:
    """A random matrix of that spectral radius."""
    if not symmetric:
        M = normal(n, n, seed=seed) + (seed % 2) * 3 * torch.eye(n, dtype=DOUBLE)
        return M * (radius / torch.linalg.eigvals(M).abs().max())
    values = radius * uniform(n, seed=seed)
    values[0] = radius
    Q, _ = torch.linalg.qr(normal(n, n, seed=seed + 100))
    return Q @ torch.diag(values) @ Q.mT


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("radius", [0.5, 0.9, 0.97, 0.999])
def test_the_defaults_are_within_a_hundredth_or_say_that_they_are_not(
    radius: float, symmetric: bool
):
    eye, silent = torch.eye(32, dtype=DOUBLE), 0
    for seed in range(20 if radius < 0.99 else 6):
        M, b = spectrum(radius, seed, symmetric), normal(1, 32, seed=seed + 50).requires_grad_()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            solution = DEQ().run(steps(M, b))
            loss = (solution.image * normal(1, 32, seed=11) + solution.image.square() / 2).sum()
            (got,) = torch.autograd.grad(loss, b)
        if told or not solution.converged.all():
            continue
        silent += 1
        x = torch.linalg.solve(eye - M, b[0].detach())
        want = torch.linalg.solve((eye - M).mT, normal(1, 32, seed=11)[0] + x)
        assert float((got[0] - want).norm() / want.norm()) < (1e-2 if radius < 0.99 else 2e-2), seed
    if radius < 0.99:
        assert silent == 20 if symmetric or radius < 0.9 else silent >= 5
