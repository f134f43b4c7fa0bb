"""Priors against formulas and solvers that are not ours."""

import numpy as np
import pytest
import pywt
import torch
from scipy.optimize import minimize

from tests.engine import DOUBLE, difference, normal
from unfold.errors import ConfigError
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.operator import Operator
from unfold.priors.box import Box, NonNegative
from unfold.priors.composite import Sum, Weighted
from unfold.priors.l1 import L1, GroupL1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import GeneralTikhonov, Tikhonov
from unfold.priors.tv import TV, Differences
from unfold.priors.wavelet import Wavelet, WaveletBands


def test_l1_is_the_threshold_of_pywavelets():
    v = normal(1, 2, 5, 6)
    want = torch.from_numpy(pywt.threshold(v.numpy(), 0.4, "soft"))
    assert difference(L1().prox(v, 0.4), want) < 1e-15
    assert float(L1().value(v)) == pytest.approx(float(np.abs(v.numpy()).sum()))


def test_the_group_prox_is_what_scipy_finds():
    v = normal(1, 3, 1, 2)

    def objective(x: np.ndarray) -> float:
        x = x.reshape(3, 2)
        return 0.5 * np.sqrt((x**2).sum(0)).sum() + 0.5 * ((x - v[0, :, 0].numpy()) ** 2).sum()

    found = minimize(objective, v.flatten().numpy(), method="Powell", tol=1e-14).x
    got = GroupL1().prox(v, 0.5)
    assert difference(got.flatten(), torch.from_numpy(found)) < 1e-6
    assert float(GroupL1().value(v)) == pytest.approx(float(v.square().sum(1).sqrt().sum()))


def test_a_group_of_one_channel_is_l1_and_a_short_group_vanishes_whole():
    v = normal(2, 1, 3, 4)
    assert difference(GroupL1().prox(v, 0.4), L1().prox(v, 0.4)) < 1e-15
    short = torch.full((1, 4, 1, 1), 0.2, dtype=DOUBLE)  # of length 0.4
    assert not GroupL1().prox(short, 0.41).any() and GroupL1().prox(short, 0.39).all()


def dense(operator: Operator | Differences, shape: tuple[int, ...]) -> torch.Tensor:
    n = int(np.prod(shape))
    return operator.forward(torch.eye(n, dtype=DOUBLE).reshape(n, *shape)).flatten(1).mT


@pytest.mark.parametrize("operator", ["differences", "blur"])
@pytest.mark.parametrize("w", [0.1, 30.0])
def test_general_tikhonov_is_a_dense_solve(operator: str, w: float):
    shape = (1, 4, 5)
    L = Differences() if operator == "differences" else CircularConvolution(
        normal(1, 1, 3, 3), shape
    )  # fmt: skip
    D, v = dense(L, shape), normal(1, *shape, seed=5)
    want = torch.linalg.solve(torch.eye(20, dtype=DOUBLE) + w * D.mT @ D, v.flatten())
    prior = GeneralTikhonov(L)
    assert difference(prior.prox(v, w).flatten(), want) < 1e-10
    assert difference(prior.grad(v).flatten(), D.mT @ D @ v.flatten()) < 1e-12
    assert float(prior.value(v)) == pytest.approx(0.5 * float((D @ v.flatten()).square().sum()))


@pytest.mark.parametrize(
    "prior, low, high", [(Box(-0.5, 0.7), -0.5, 0.7), (NonNegative(), 0, None)]
)
def test_a_box_clips_and_its_value_says_who_is_inside(prior: Prior, low: float, high: float | None):
    v = normal(2, 1, 3, 4)
    x = prior.prox(v, 5.0)
    assert np.array_equal(x.numpy(), np.clip(v.numpy(), low, high))
    assert prior.value(x).tolist() == [0.0, 0.0]
    x[1, 0, 0, 0] = low - 1e-12
    assert prior.value(x).tolist() == [0.0, float("inf")]


def test_a_band_that_weighs_nothing_is_kept_and_each_threshold_is_its_own():
    v = normal(1, 1, 8, 8)
    weights = [0.0, 0.5, 2.0, 1.0, 0.3, 0.1]
    prior, W = WaveletBands("db2", 2, weights=weights), Wavelet("db2", 2)
    before, after = W.transform(v), W.transform(prior.prox(v, 0.4))
    assert difference(after[0], before[0]) < 1e-12
    for b, c in enumerate(weights, 1):
        want = torch.from_numpy(pywt.threshold(before[b].numpy(), 0.4 * c, "soft"))
        assert float((after[b] - want).abs().max()) < 1e-12
    sums = [c * float(b.abs().sum()) for c, b in zip(weights, before[1:], strict=True)]
    assert float(prior.value(v)) == pytest.approx(sum(sums))
    same = WaveletBands("db2", 2, weights=1.0)
    assert torch.equal(same.prox(v, 0.4), W.prox(v, 0.4))


def test_a_sum_adds_up_and_offers_what_is_exact():
    x = normal(2, 1, 4, 4)
    tv_box = Sum((Weighted(TV(), 0.5), Box(-9.0, 9.0)))
    assert tv_box.offers() == {"split", "value"}
    torch.testing.assert_close(tv_box.value(x), 0.5 * TV().value(x))
    ridge = Sum((Tikhonov(), Weighted(Tikhonov(), 2.0)))
    assert ridge.offers() == {"split", "value", "grad"}
    assert difference(ridge.grad(x), 3 * x) < 1e-15
    assert Sum((L1(), Box())).offers() == {"split", "value", "prox"}
    assert Sum((L1(), L1())).offers() == {"split", "value"}  # two proxes do not compose
    assert Sum((TV(),)).offers() == {"split", "value", "prox"}
    with pytest.raises(ConfigError, match="Sum has no prox"):
        tv_box.prox(x, 0.1)
    with pytest.raises(ConfigError, match=r"Sum.terms = \[\]: at least one"):
        Sum(())


def test_the_terms_of_a_weighted_sum_keep_both_weights():
    inner = Sum((L1(), Weighted(Tikhonov(), 2.0)))
    terms = Weighted(inner, 0.5).terms
    v = normal(1, 1, 4, 4)
    assert len(terms) == 2 and L1().terms == (L1(),)
    assert difference(terms[0].prox(v, 0.8), L1().prox(v, 0.4)) < 1e-15
    assert difference(terms[1].prox(v, 0.8), v / 1.8) < 1e-15
    weighted = Weighted(TV(tol=1e-8), 0.5)
    u = weighted.analysis.forward(v)
    assert torch.equal(weighted.project(u, 0.8), TV().project(u, 0.4))
    assert torch.equal(weighted.analysis.adjoint(u), TV().analysis.adjoint(u))
    assert weighted.analysis_norm_squared == 8 and weighted.terms == (weighted,)


def test_a_weight_that_cannot_act_is_dead():
    assert Weighted(L1()).cannot_act() == {}
    assert "takes no weight" in Weighted(Box()).cannot_act()["weight"]
    assert not Sum((Box(), NonNegative())).uses_lambda and Sum((Box(), L1())).uses_lambda
    assert Weighted(Box(), 0.0).value(torch.full((1, 1, 2, 2), 2.0)).tolist() == [float("inf")]


def test_values_without_meaning_are_refused():
    with pytest.raises(ConfigError, match=r"Box needs low < high, got \[1.0, 0.0\]"):
        Box(1.0, 0.0)
    with pytest.raises(ConfigError, match=r"Weighted.weight = -1.0: must be zero or positive"):
        Weighted(L1(), -1.0)
    with pytest.raises(ConfigError, match=r"WaveletBands.levels = 0"):
        WaveletBands(levels=0)
