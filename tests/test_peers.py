"""Defects measured in other libraries that no other test here would catch."""

import pytest
import torch

from tests.engine import (
    blur,
    difference,
    inpainting,
    least_squares,
    measured,
    normal,
    reconstructor,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.learned_primal_dual import LearnedPrimalDual
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.data.batches import TrainBatches
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.priors.tv import TV


def test_the_operator_of_a_primal_dual_method_is_that_of_the_batch():
    net = reconstructor(PDHG(lambda_reg=0.3), Classical(tol=1e-12, max_iterations=5000))
    for A in (blur(4), inpainting(), blur(4, seed=9)):
        y = measured(A)
        assert difference(net(y, A), least_squares(A, y, 0.3)) < 1e-6


@pytest.mark.parametrize("algorithm", [PGD(stepsize=0.5), ADMM(), PDHG()])
def test_without_gradients_an_equilibrium_takes_no_further_steps(algorithm):
    calls = []

    class Counting(type(algorithm)):
        def step(self, state, problem):
            calls.append(1)
            return super().step(state, problem)

    A = blur(4)
    net = reconstructor(Counting(**vars(algorithm)), DEQ(tol=1e-8, max_iterations=200))
    with torch.no_grad():
        solution = net.solve(measured(A), A)
    # convergence is looked at every third step, and the best iterate may be an earlier one
    assert int(solution.iterations.max()) <= len(calls) <= int(solution.iterations.max()) + 2


def test_a_full_last_batch_is_not_dropped():
    batches = list(TrainBatches(8, 4, seed=0))
    assert sorted(index for batch in batches for _, index in batch) == list(range(8))


def test_total_variation_keeps_nothing_between_images():
    prior, v = TV(), normal(1, 1, 8, 8)
    first = prior.prox(v, 0.1)
    prior.prox(normal(1, 1, 8, 8, seed=3), 0.7)
    assert torch.equal(prior.prox(v, 0.1), first)


def test_the_learned_primal_dual_network_has_the_parameters_of_its_paper():
    """Adler and Öktem report 2.4e5 for 10 iterations, each with networks of its own."""
    net = reconstructor(LearnedPrimalDual(), Unfolded(10), untied=["algo.*"])
    count = sum(p.numel() for p in net.algo.parameters())
    assert 2.3e5 < count < 2.6e5
