"""Methods that must coincide, and the ranges for which they are known to converge."""

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.algorithms.small import MATRIX, NORM, Dense, Y, dense_problem
from tests.engine import difference, iterate, normal, reconstructor
from unfold.algorithms.admm import ADMM
from unfold.algorithms.davis_yin import DavisYin
from unfold.algorithms.drs import DRS
from unfold.algorithms.fista import FISTA
from unfold.algorithms.gd import GD
from unfold.algorithms.heavy_ball import HeavyBall
from unfold.algorithms.hqs import HQS
from unfold.algorithms.landweber import Landweber
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.unfolded import Unfolded
from unfold.physics.denoising import Identity
from unfold.priors.box import Box, NonNegative
from unfold.priors.composite import Sum
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.wavelet import Wavelet
from unfold.problem import make_problem

LAM, TAU = 0.2, 1.1 / NORM
y = Y[0].numpy()
FREE = Box(-np.inf, np.inf)
NOTHING = 1e-30
"""A weight so small that adding it changes no digit."""


@dataclass(frozen=True)
class ProxOfData(Prior):
    """The data term as a prior: its prox at weight γλ is prox_{γf}."""

    data: Any
    lam: float
    provides = frozenset({"prox"})

    def prox(self, v, weight):
        return self.data.prox(v, weight / self.lam)


@dataclass(frozen=True)
class PriorAsData(L2):
    """The prior as a data term."""

    _: KW_ONLY
    prior: Any
    lam: float

    def prox_through(self, data, z, gamma, start=None):
        return self.prior.prox(z, gamma * self.lam)


@dataclass(frozen=True)
class Envelope(L2):
    """The Moreau envelope of least squares."""

    _: KW_ONLY
    gamma: float

    def grad_through(self, data, x):
        return (x - L2().prox_through(data, x, self.gamma)) / self.gamma


def test_drs_with_the_proxes_exchanged_is_admm():
    at = dense_problem(L1())
    swapped = dense_problem(ProxOfData(at.f, LAM), PriorAsData(prior=L1(), lam=LAM))
    admm, drs_ = ADMM(0.7, LAM), DRS(0.7, LAM)
    state = admm.init(at)
    other = None
    for _ in range(8):
        new = admm.step(state, at)
        s = new.x + state.u
        other = drs_.init(swapped)._replace(z=s) if other is None else drs_.step(other, swapped)
        assert difference(other.z, s) < 1e-12
        state = new


def test_with_the_identity_and_steps_of_product_one_pdhg_is_admm_and_so_drs():
    at = make_problem(L2(), Identity((1, 4, 4)), normal(1, 1, 4, 4), Wavelet("haar", 1))
    for k in range(8):
        x = iterate(PDHG(0.7, 1 / 0.7, LAM), at, k)
        assert difference(x, iterate(ADMM(0.7, LAM), at, k)) < 1e-12


def test_what_is_the_same_is_the_same():
    smooth, sparse = dense_problem(Tikhonov()), dense_problem(L1())
    split = dense_problem(Sum((FREE, L1())))
    envelope = dense_problem(L1(), Envelope(gamma=0.8))
    pairs = (
        (iterate(PGD(TAU, NOTHING), smooth, 9), iterate(GD(TAU, NOTHING), smooth, 9)),
        (iterate(Landweber(TAU), smooth, 9), iterate(GD(TAU, NOTHING), smooth, 9)),
        (iterate(HeavyBall(TAU, LAM, 0.0), smooth, 9), iterate(GD(TAU, LAM), smooth, 9)),
        (iterate(FISTA(TAU, LAM, 0.0), sparse, 9), iterate(PGD(TAU, LAM), sparse, 9)),
        (iterate(DavisYin(TAU, LAM), split, 9), iterate(PGD(TAU, LAM), sparse, 9)),
        (iterate(HQS(0.8, LAM), sparse, 9), iterate(PGD(0.8, LAM), envelope, 9)),
    )
    for one, other in pairs:
        assert difference(one, other) < 1e-12


def test_a_relaxation_of_one_leaves_pdhg_as_it_is_to_the_last_bit():
    at = dense_problem(L1())
    tau = sigma = 0.9 / NORM**0.5
    state = PDHG(tau, sigma, LAM, theta=0.7).init(at)
    for _ in range(4):
        u = at.f.prox_conj(state.u + sigma * at.A(state.x_bar), sigma)
        x = at.g.prox(state.x - tau * at.A_adjoint(u), tau * LAM)
        x_bar = x + 0.7 * (x - state.x)
        state = PDHG(tau, sigma, LAM, theta=0.7).step(state, at)
        assert torch.equal(state.u, u) and torch.equal(state.x, x)
        assert torch.equal(state.x_bar, x_bar)


def test_the_relaxed_pdhg_is_a_relaxed_fixed_point_iteration():
    # On (x_k, u_{k+1}) the plain step is an operator T, and the relaxed one (1 − β) I + β T.
    at, beta = dense_problem(L1()), 1.6
    tau = sigma = 0.9 / NORM**0.5

    def T(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        new = at.g.prox(x - tau * at.A_adjoint(u), tau * LAM)
        return new, at.f.prox_conj(u + sigma * at.A(2 * new - x), sigma)

    algorithm = PDHG(tau, sigma, LAM, beta=beta)
    state = algorithm.step(algorithm.init(at), at)
    x, u = at.start, state.u
    for _ in range(6):
        x, u = (old + beta * (new - old) for old, new in zip((x, u), T(x, u), strict=True))
        assert difference(state.x, x) < 1e-12
        state = algorithm.step(state, at)
        assert difference(state.u, u) < 1e-12


@pytest.mark.parametrize("gain", [0.3, 1.0, 4.0])
def test_guarantees_hold_up_to_their_edge_and_not_beyond(gain: float):
    at = dense_problem(Tikhonov(), matrix=gain * MATRIX)
    norm = float(at.norm_squared)
    smooth = norm + 0.5
    for algorithm, holds in (
        (GD(1.999 / smooth, 0.5), True),
        (GD(2.001 / smooth, 0.5), False),
        (HeavyBall(0.999 / smooth, 0.5, 0.5), True),
        (HeavyBall(1.001 / smooth, 0.5, 0.5), False),
        (HeavyBall(0.1 / smooth, 0.5, 1.0), False),
        (FISTA(0.999 / norm, momentum=0.99), True),
        (FISTA(1.001 / norm, momentum=0.5), False),
        (FISTA(0.5 / norm, momentum=1.0), False),
        (HQS(1e6), True),
        (DRS(1e6, beta=1.99), True),
        (DRS(beta=2.0), False),
        (DRS(beta=0.0), False),
        (DavisYin(1.0 / norm, beta=1.49), True),
        (DavisYin(1.0 / norm, beta=1.51), False),
        (DavisYin(2.01 / norm, beta=0.01), False),
        (Landweber(1.999 / norm), True),
        (Landweber(2.001 / norm), False),
        (PDHG(0.9 / norm, 1.0, beta=1.99), True),
        (PDHG(0.9 / norm, 1.0, beta=2.0), False),
    ):
        assert algorithm.guarantee(at).holds is holds, algorithm
    assert not GD(1e-3, 0.5).guarantee(dense_problem(L1(), matrix=gain * MATRIX)).holds


@pytest.mark.parametrize("gain", [0.1, 1.0, 3.0])
def test_the_defaults_keep_their_guarantee_for_every_norm(gain: float):
    A = Dense(gain * MATRIX)
    for algorithm in (FISTA(), HQS(), DRS(), Landweber(), PDHG()):
        net = reconstructor(algorithm, Classical(max_iterations=50), L1(), learn=[])
        assert net.guarantee(Y, A).holds, algorithm
    split = reconstructor(DavisYin(), Classical(), Sum((L1(), NonNegative())))
    assert split.guarantee(Y, A).holds


@pytest.mark.parametrize("step, sound", [(0.999, True), (1.05, False)])
def test_gradient_methods_diverge_beyond_their_exact_edge_and_not_before(step: float, sound: bool):
    at = dense_problem(Tikhonov())
    for algorithm, edge in ((GD(1.0, LAM), 2.0), (HeavyBall(1.0, LAM, 0.4), 2.8)):
        moved = replace(algorithm, stepsize=step * edge / (NORM + LAM))
        assert bool(iterate(moved, at, 300).abs().max() < 1e3) is sound


def test_a_prior_that_has_no_place_is_dead_and_is_reported():
    from tests.engine import network_prior

    net = reconstructor(Landweber(), Unfolded(2), network_prior())
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {"algo.raw_stepsize"}
    with pytest.raises(ConfigError, match=r"'prior.denoiser', which cannot act: Landweber takes"):
        reconstructor(Landweber(), Unfolded(2), network_prior(), learn=["prior.denoiser"])
