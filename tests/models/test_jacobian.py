"""The Jacobian of a step: its penalty and its spectral radius, against dense ones."""

from typing import Any

import pytest
import torch

from tests.engine import (
    blur,
    difference,
    equilibrium,
    jacobian,
    learned,
    measured,
    network_prior,
    reconstructor,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError
from unfold.models.deq import DEQ, JacobianPenalty
from unfold.random import Draws

ALGORITHMS: dict[str, Any] = {"pgd": PGD(), "admm": ADMM(), "pdhg": PDHG()}


def test_the_penalty_is_the_mean_square_of_the_jacobian():
    A, draws = blur(4, batch=2), Draws(0, (5, 9))
    net = reconstructor(ADMM(), DEQ(tol=1e-12, penalty=JacobianPenalty(0.5, 400)), network_prior())
    y = measured(A, batch=2)
    found = net.solve(y, A, draws=draws).penalty
    want = 0.0
    for i in range(2):
        one, own = y[i : i + 1], A.take(torch.tensor([i]), 2)
        J = jacobian(net, one, own, equilibrium(net, one, own))
        want += 0.5 * float(J.square().sum()) / len(J) / 2
    assert abs(found.item() - want) < 0.05 * want


def test_the_penalty_has_the_gradient_of_finite_differences():
    A, draws = blur(3), Draws(0, (5,))
    penalty = JacobianPenalty(1.0, 2)
    net = reconstructor(PGD(), DEQ(), network_prior(width=2))
    y = measured(A)
    state = equilibrium(net, y, A)

    def value() -> torch.Tensor:
        return penalty.value(lambda s: net.steps(y, A).step(0, s), state, draws)

    at = learned(net)
    grads = torch.autograd.grad(value(), at, allow_unused=True)
    assert sum(g is not None and bool(g.abs().max() > 1e-6) for g in grads) >= 2
    for p, g in zip(at, grads, strict=True):
        position = 0
        values = []
        for h in (1e-6, -2e-6):
            p.data.view(-1)[position] += h
            values.append(value().item())
        p.data.view(-1)[position] += 1e-6
        own = 0.0 if g is None else g.flatten()[position].item()
        assert abs((values[0] - values[1]) / 2e-6 - own) < 1e-5 * max(abs(own), 1.0)


def test_the_draws_decide_the_penalty_and_without_them_there_is_none():
    A = blur(4)
    net = reconstructor(PGD(), DEQ(penalty=JacobianPenalty(1.0)), network_prior())
    y = measured(A)
    same = [net.solve(y, A, draws=Draws(0, (3,))).penalty for _ in range(2)]
    other = net.solve(y, A, draws=Draws(0, (4,))).penalty
    assert torch.equal(*same) and not torch.equal(same[0], other)
    assert net.solve(y, A).penalty is None
    plain = reconstructor(PGD(), DEQ(), network_prior())
    assert plain.solve(y, A, draws=Draws(0, (3,))).penalty is None
    with torch.no_grad():
        assert net.solve(y, A, draws=Draws(0, (3,))).penalty is None


def test_a_penalty_makes_the_jacobian_smaller():
    A = blur(4)
    net = reconstructor(
        PGD(), DEQ(penalty=JacobianPenalty(1.0)), network_prior(), learn=["prior.*"]
    )
    y, sizes = measured(A), []
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(8):
        penalty = net.solve(y, A, draws=Draws(0, (0,), epoch=0)).penalty
        sizes.append(penalty.item())
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    assert sizes[-1] < 0.95 * sizes[0]


def test_settings_without_meaning_are_refused():
    with pytest.raises(ConfigError, match=r"JacobianPenalty.weight = -1.0: must be zero or pos"):
        JacobianPenalty(-1.0)
    with pytest.raises(ConfigError, match=r"JacobianPenalty.probes = 0: must be at least 1"):
        JacobianPenalty(1.0, 0)


def test_probes_are_as_many_as_asked():
    A = blur(4)
    values = []
    for probes in (1, 2):
        net = reconstructor(PGD(), DEQ(penalty=JacobianPenalty(1.0, probes)), network_prior())
        values.append(net.solve(measured(A), A, draws=Draws(0, (3,))).penalty)
    assert difference(values[0], values[1]) > 1e-6
