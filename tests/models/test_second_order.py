"""Second derivatives through an equilibrium."""

from typing import Any

import pytest
import torch

from tests.engine import (
    blur,
    difference,
    inpainting,
    learned,
    measured,
    network_prior,
    reconstructor,
    weighted_loss,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import Implicit
from unfold.models.unfolded import Unfolded

TIGHT = DEQ(1e-13, 1.0, 99, backward=Implicit(1e-12, 1.0, 60))
ALGORITHMS: dict[str, Any] = {
    "pgd": PGD(stepsize=0.8, lambda_reg=0.3),
    "admm": ADMM(stepsize=0.8, lambda_reg=0.3, beta=1.2),
    "pdhg": PDHG(stepsize=0.9, stepsize_dual=0.8, lambda_reg=0.3),
}


@pytest.mark.parametrize("name", ["pgd", "admm"])
def test_second_derivatives_are_those_of_finite_differences(name: str):
    A = inpainting(2)
    net = reconstructor(ALGORITHMS[name], TIGHT)
    at = (measured(A).requires_grad_(), *learned(net))

    def loss(y: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return (net(y, A) ** 3).sum()

    assert torch.autograd.gradcheck(loss, at, eps=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(loss, at, eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_of_a_network_they_are_those_of_the_unrolled_iteration(name: str):
    A = blur(4)
    found = []
    for model in (TIGHT, Unfolded(150)):
        net = reconstructor(ALGORITHMS[name], model, network_prior(width=2))
        at = [measured(A).requires_grad_(), *learned(net)]
        first = torch.autograd.grad(
            weighted_loss(net(at[0], A)), at, create_graph=True, allow_unused=True
        )
        size = sum((g.square().sum() for g in first if g is not None), torch.zeros(()))
        found.append(torch.autograd.grad(size, at, allow_unused=True))
    scale = max(float(g.abs().max()) for g in found[1] if g is not None)
    assert difference(found[0][0], found[1][0]) < 1e-6
    for got, want in zip(*found, strict=True):
        got, want = (torch.zeros(1) if g is None else g for g in (got, want))
        assert float((got - want).abs().max()) < 1e-6 * scale


def test_a_recorded_gradient_has_the_value_of_the_plain_one():
    A = blur(4)
    net = reconstructor(PGD(), TIGHT, network_prior())
    at = learned(net)
    plain = torch.autograd.grad(weighted_loss(net(measured(A), A)), at)
    recorded = torch.autograd.grad(weighted_loss(net(measured(A), A)), at, create_graph=True)
    for p, r in zip(plain, recorded, strict=True):
        assert difference(r, p) < 1e-9 or float((r - p).abs().max()) < 1e-12
