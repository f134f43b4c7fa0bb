"""At its fixed point, every algorithm has the gradient of a dense solve, at any contraction."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.engine import (
    DOUBLE,
    blur,
    dense_gradients,
    difference,
    inpainting,
    learned,
    measured,
    network_prior,
    uniform,
    weighted_loss,
)
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.davis_yin import DavisYin
from unfold.algorithms.drs import DRS
from unfold.algorithms.fista import FISTA
from unfold.algorithms.gd import GD
from unfold.algorithms.heavy_ball import HeavyBall
from unfold.algorithms.hqs import HQS
from unfold.algorithms.landweber import Landweber
from unfold.algorithms.mirror_descent import MirrorDescent
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pidal import PIDAL
from unfold.algorithms.potentials import BurgEntropy, NegativeEntropy
from unfold.algorithms.preconditioned_pdhg import PreconditionedPDHG
from unfold.algorithms.proximal_mirror_descent import ProximalMirrorDescent
from unfold.algorithms.richardson_lucy import RichardsonLucy
from unfold.algorithms.sirt import SIRT
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.models.deq import DEQ, Implicit
from unfold.parameters.select import Trainable
from unfold.physics.inpainting import Mask
from unfold.physics.operator import Operator
from unfold.priors.composite import Sum, Weighted
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.reconstructor import Reconstructor

EXACT = DEQ(tol=1e-14, max_iterations=400, backward=Implicit(tol=1e-12, max_iterations=300))
MISSING = inpainting(2)
ALL_SEEN = Mask(torch.ones(1, 1, 2, 2, dtype=DOUBLE))
ROUND = Tikhonov()


class Case(NamedTuple):
    """An algorithm whose slowest mode contracts by a wanted factor."""

    algorithm: Algorithm[Any]
    operator: Operator
    prior: Prior = ROUND
    fidelity: Fidelity = L2()
    y: Tensor | None = None


def heavy_ball(rho: float) -> Case:
    # A missing pixel: r² − (1 − τλ + μ)r + μ = 0 has the root ρ.
    mu, tau = 0.2, 0.9
    return Case(HeavyBall(tau, (1 + mu - rho - mu / rho) / tau, mu), MISSING)


def fista(rho: float) -> Case:
    # A missing pixel: r² − a(1 + μ)r + aμ = 0 with a = 1/(1 + τλ) has the root ρ.
    mu = 0.3
    a = rho**2 / ((1 + mu) * rho - mu)
    return Case(FISTA(0.9, (1 / a - 1) / 0.9, mu), MISSING)


def drs(rho: float) -> Case:
    # A missing pixel: ρ = 1 − β(1 − a) with a = 1/(1 + γλ).
    return Case(DRS(0.8, (1 / (1 - (1 - rho) / 1.3) - 1) / 0.8, 1.3), MISSING)


def davis_yin(rho: float) -> Case:
    # A missing pixel: ρ = 2a² − 2a + 1 with a = 1/(1 + γλ), the same for both terms.
    a = (1 + math.sqrt(2 * rho - 1)) / 2
    return Case(DavisYin(0.9, (1 / a - 1) / 0.9), MISSING, Sum((ROUND, ROUND)))


def landweber(rho: float) -> Case:
    # The weakest pixel contracts by 1 − τm².
    weights = torch.linspace(math.sqrt((1 - rho) / 0.9), 1, 4, dtype=DOUBLE)
    return Case(Landweber(0.9), Mask(weights.reshape(1, 1, 2, 2)))


def sirt(rho: float) -> Case:
    return Case(SIRT(1 - rho), Mask(0.3 + uniform(1, 1, 2, 2) * 0.7))


def richardson_lucy(rho: float) -> Case:
    # For A = I and y = 1: x⁺ = 1/(1 + λx), whose slope at x = 1 − ρ is −ρ for λ = ρ/(1 − ρ)².
    y = torch.ones(1, 1, 2, 2, dtype=DOUBLE)
    lam = rho / (1 - rho) ** 2
    return Case(RichardsonLucy(lam), ALL_SEEN, ROUND, PoissonFidelity(), y)


def entropy(rho: float) -> Case:
    # For A = I the slope at the fixed point is 1 − τy.
    y = 0.5 + uniform(1, 1, 2, 2)
    step = (1 - rho) / float(y.min())
    return Case(MirrorDescent(NegativeEntropy(), step, 0.3), ALL_SEEN, ROUND, L2(), y)


def burg(rho: float) -> Case:
    # For A = I, λ → 0 the slope at x = y is 1 − ty with t = τ/Σy.
    y = 0.5 + uniform(1, 1, 2, 2)
    step = (1 - rho) * float(y.sum()) / float(y.min())
    algorithm = ProximalMirrorDescent(BurgEntropy(), step, 1e-3)
    return Case(algorithm, ALL_SEEN, ROUND, PoissonFidelity(), y)


CASES: dict[str, Callable[[float], Case]] = {
    "gd": lambda rho: Case(GD(0.9, (1 - rho) / 0.9), MISSING),
    "heavy_ball": heavy_ball,
    "fista": fista,
    "hqs": lambda rho: Case(HQS(0.9, (1 / rho - 1) / 0.9), MISSING),
    "drs": drs,
    "davis_yin": davis_yin,
    "landweber": landweber,
    "sirt": sirt,
    "preconditioned_pdhg": lambda rho: Case(
        PreconditionedPDHG(0.9, 0.8, (1 / rho - 1) / 0.9), MISSING
    ),
    "richardson_lucy": richardson_lucy,
    "entropy": entropy,
    "burg": burg,
}


def build(case: Case) -> Reconstructor:
    algorithm, _, prior, fidelity, _ = case
    return Reconstructor(
        algorithm, prior, fidelity, EXACT, trainable=Trainable(relative=())
    ).double()


def gradients(net: Reconstructor, y: Tensor, A: Operator, scale: float = 1.0) -> list[Tensor]:
    at = [y, *learned(net)]
    found = torch.autograd.grad(weighted_loss(net(y, A), scale), at, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g / scale for g, p in zip(found, at, strict=True)]


def close(got: list[Tensor], want: list[Tensor]) -> bool:
    """Whether every gradient is; the scalars are measured against the largest of their own."""
    # That of a step is 0 where it does not move the fixed point, and has no size.
    sizes = [1e-3 * float(want[0].abs().max()), *(float(w.abs().max()) for w in want[1:])]
    errors = [float((g - w).abs().max()) for g, w in zip(got[1:], want[1:], strict=True)]
    return max(errors) < 1e-6 * max(sizes) and difference(got[0], want[0]) < 1e-6


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rho", [0.5, 0.9, 0.97, 0.99])
def test_in_scalars_and_y_at_any_contraction_and_scale(name: str, rho: float):
    case = CASES[name](rho)
    net, A = build(case), case.operator
    y = (measured(A) if case.y is None else case.y.clone()).requires_grad_()
    want, found = dense_gradients(net, y, A, [y, *learned(net)])
    assert abs(found - rho) < 0.25 * (1 - rho), found
    for scale in (1e-6, 1.0, 1e6) if rho == 0.97 else (1.0,):
        assert close(gradients(net, y, A, scale), want)


PLUGGED: dict[str, Algorithm[Any]] = {
    "fista": FISTA(0.9, momentum=0.3),
    "hqs": HQS(0.8),
    "drs": DRS(0.8, beta=1.2),
    "pdhg": PDHG(0.9, 0.8, beta=1.3),
    "preconditioned_pdhg": PreconditionedPDHG(0.9, 0.8),
    "pidal": PIDAL(0.8, 0.9, 0.1, low=-9.0, high=9.0),
}


@pytest.mark.parametrize("name", PLUGGED)
def test_in_the_weights_of_a_network(name: str):
    A = blur(3)
    net = build(Case(PLUGGED[name], A, network_prior()))
    y = measured(A).requires_grad_()
    at = [y, *learned(net)]
    want, found = dense_gradients(net, y, A, at)
    assert 0.2 < found < 1 and len(at) >= 4
    for g, w in zip(gradients(net, y, A), want, strict=True):
        assert difference(g, w) < 1e-6 or float((g - w).abs().max()) < 1e-10


def test_in_the_weights_of_the_terms_of_a_sum():
    A = blur(3)
    for algorithm in (DavisYin(0.9, 0.2), PIDAL(0.8, 0.9, 0.2, low=-9.0, high=9.0)):
        net = build(Case(algorithm, A, Sum((Weighted(ROUND, 0.5), Weighted(ROUND, 2.0)))))
        y = measured(A).requires_grad_()
        names = [n for n, p in net.named_parameters() if p.requires_grad]
        assert sum("terms" in n for n in names) == 2
        want, found = dense_gradients(net, y, A, [y, *learned(net)])
        assert found < 1
        assert close(gradients(net, y, A), want)
