"""The prox of every explicit prior is a prox: the minimiser, firmly nonexpansive, with Moreau."""

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from tests.laws_prox import assert_firmly_nonexpansive, assert_minimises
from unfold.errors import ConfigError
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV
from unfold.priors.wavelet import Wavelet

GAP = 1e-9
PRIORS: dict[str, Prior] = {
    "tikhonov": Tikhonov(),
    "haar": Wavelet("haar", 2),
    "db2": Wavelet("db2", 1),
    "tv": TV(tol=GAP, max_iterations=3000),
}
every_prior = pytest.mark.parametrize("name", PRIORS)
either_kind = pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])


@every_prior
@either_kind
@pytest.mark.parametrize("w", [1e-3, 0.3, 2.0])
def test_the_prox_minimises(name: str, dtype: torch.dtype, w: float):
    prior, v = PRIORS[name], normal(2, 2, 4, 8, dtype=dtype)
    with torch.no_grad():
        assert_minimises(prior.prox, prior.value, v, w, gap=GAP if name == "tv" else 0.0)


@every_prior
def test_a_weight_of_its_own_for_each_image(name: str):
    prior, v = PRIORS[name], normal(3, 1, 4, 4)
    w = torch.tensor([0.01, 0.2, 1.5], dtype=DOUBLE).reshape(3, 1, 1, 1)
    with torch.no_grad():
        assert_minimises(prior.prox, prior.value, v, w, gap=GAP if name == "tv" else 0.0)
        for i in range(3):
            alone = prior.prox(v[i : i + 1], w[i].item())
            assert difference(prior.prox(v, w)[i : i + 1], alone) < 1e-12


@every_prior
@either_kind
def test_the_prox_is_firmly_nonexpansive(name: str, dtype: torch.dtype):
    prior, slack, pairs = PRIORS[name], 1e-12, 1000
    if name == "tv":  # the error of an inexact prox is √gap, of points 0.01 apart
        prior, slack, pairs = TV(tol=1e-8, max_iterations=3000), 2e-2, 100
    with torch.no_grad():
        assert_firmly_nonexpansive(
            lambda v: prior.prox(v, 0.4), 1, 4, 4, dtype=dtype, slack=slack, pairs=pairs
        )


@every_prior
def test_without_weight_it_is_the_identity_and_with_little_almost(name: str):
    prior, v = PRIORS[name], normal(2, 1, 4, 4)
    v[:, :, :2] = 0.5  # flat parts, where a division by the length is 0 / 0
    with torch.no_grad():
        assert difference(prior.prox(v, 0.0), v) < 1e-15
        assert difference(prior.prox(v, torch.zeros(2, 1, 1, 1, dtype=DOUBLE)), v) < 1e-15
        for w in (1e-30, 1e-200):
            assert difference(prior.prox(v, w), v) < 1e-15
        gaps = [difference(prior.prox(v, w), v) for w in (1e-2, 1e-4, 1e-6)]
    assert gaps[1] < 0.02 * gaps[0] and gaps[2] < 0.02 * gaps[1]


@every_prior
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_a_norm_scales_with_its_weight(name: str, scale: float):
    prior, v = PRIORS[name], normal(1, 1, 4, 4)
    weight = 0.3 if name == "tikhonov" else 0.3 * scale
    with torch.no_grad():
        got = prior.prox(scale * v, weight) / scale
        assert difference(got, prior.prox(v, 0.3)) < 1e-6


def test_the_dual_projection_is_moreaus_other_half():
    # prox_{w‖·‖} + projection onto the ball of radius w = identity, pixel by pixel
    tv, u = TV(), normal(2, 2, 3, 4, 5)
    for w in (0.1, 1.0):
        length = u.square().sum(1, keepdim=True).sqrt()
        prox = u * (1 - w / length).clamp(min=0)
        assert difference(tv.project(u, w) + prox, u) < 1e-10
    assert float(tv.project(u, 0.7).square().sum(1).max()) <= 0.49 * (1 + 1e-12)


@every_prior
@either_kind
def test_the_gradient_of_the_prox_is_that_of_finite_differences(name: str, dtype: torch.dtype):
    if name == "tv" and dtype.is_complex:
        pytest.skip("covered by the real case; complex TV is the same code on pairs")
    prior, c = PRIORS[name], normal(1, 1, 4, 4, seed=7, dtype=dtype)
    if name == "tv":
        prior = TV(tol=1e-14, max_iterations=5000)
    v = normal(1, 1, 4, 4, seed=8, dtype=dtype).requires_grad_()
    w = torch.tensor(0.1, dtype=DOUBLE, requires_grad=True)

    def loss(v: Tensor, w: Tensor) -> Tensor:
        return (prior.prox(v, w) * c.conj()).real.sum()

    in_v, in_w = torch.autograd.grad(loss(v, w), (v, w))
    h, direction = 1e-6, normal(1, 1, 4, 4, seed=9, dtype=dtype)
    with torch.no_grad():
        numeric_w = (loss(v, w + h) - loss(v, w - h)) / (2 * h)
        numeric_v = (loss(v + h * direction, w) - loss(v - h * direction, w)) / (2 * h)
    assert abs(float(in_w - numeric_w)) < 1e-6 * abs(float(numeric_w))
    along = (in_v * direction.conj()).real.sum()
    assert abs(float(along - numeric_v)) < 1e-6 * abs(float(numeric_v))


@every_prior
def test_value_with_and_without_a_recorded_gradient_is_the_same(name: str):
    prior, v = PRIORS[name], normal(2, 1, 4, 4)
    with torch.no_grad():
        quiet = prior.prox(v, 0.2)
    assert torch.equal(prior.prox(v.requires_grad_(), 0.2), quiet)


def test_tikhonov_has_the_gradient_of_its_value():
    x = normal(2, 1, 3, 3).requires_grad_()
    (grad,) = torch.autograd.grad(Tikhonov().value(x).sum(), x)
    assert difference(Tikhonov().grad(x), grad) < 1e-14


def test_a_method_that_a_prior_lacks_says_so():
    x = normal(1, 1, 4, 4)
    for call in (TV().grad, Tikhonov().analyse, Tikhonov().analyse_adjoint, Wavelet().grad):
        with pytest.raises(ConfigError, match=r"has no"):
            call(x)
    with pytest.raises(ConfigError, match="Tikhonov has no analysis operator K"):
        Tikhonov().project(x, 1.0)
