"""Memory of an equilibrium: flat over its iterations and over training steps."""

import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.engine import blur, inpainting, measured, network_prior, reconstructor, weighted_loss
from unfold.algorithms.admm import ADMM
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.models.deq import DEQ
from unfold.solvers.fixed_point import Picard

ALGORITHMS = {"pgd": PGD(), "admm": ADMM(beta=1.2), "pdhg": PDHG()}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@every_algorithm
def test_memory_is_flat_over_many_training_steps(name: str):
    A = blur(32)
    y = measured(A)
    net = reconstructor(ALGORITHMS[name], DEQ(), network_prior())
    gc.disable()  # what only the collector of cycles frees has leaked
    try:
        counts, sizes = [], []
        for step in range(30):
            net.zero_grad()
            solution = net.solve(y, A)
            weighted_loss(solution.image).backward()
            del solution
            if step in (4, 29):
                counts.append(sum(issubclass(type(o), Tensor) for o in gc.get_objects()))
                sizes.append(resident())
    finally:
        gc.enable()
    assert counts[1] <= counts[0] + 2, counts
    assert sizes[1] - sizes[0] < 8e6, sizes


def test_memory_of_the_graph_does_not_grow_with_the_iterations():
    A = inpainting()
    y = measured(A)

    def kept(iterations: int) -> int:
        total = 0

        def count(t: Tensor) -> Tensor:
            nonlocal total
            total += t.numel()
            return t

        model = DEQ(tol=1e-30, max_iterations=iterations, solver=Picard())
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            reconstructor(PGD(lambda_reg=0.01), model)(y, A)
        return total

    assert kept(300) == kept(5)
