"""The prox of every convex prior is a prox: the minimiser, firmly nonexpansive, with its rules."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from tests.priors.instances import ALL, GAP, NONCONVEX, convex, facts, having, inexact
from tests.proximal_properties import (
    assert_firmly_nonexpansive,
    assert_minimises,
    assert_no_image_sees_its_batch,
)
from unfold.errors import ConfigError
from unfold.priors.prior import Prior

every_prior = pytest.mark.parametrize("name", convex())
either_kind = pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
SHAPE = (2, 4, 8)


def sharp(name: str, tol: float) -> Prior:
    """The prior, its inner iteration to a tolerance where it has one."""
    return replace(ALL[name], tol=tol, max_iterations=9000) if inexact(name) else ALL[name]


def shape(name: str) -> tuple[int, ...]:
    """Of one image; an inner iteration makes small ones expensive enough."""
    return (1, 4, 4) if inexact(name) else SHAPE


def image(name: str, batch: int, dtype: torch.dtype = DOUBLE) -> Tensor:
    return normal(batch, *shape(name), dtype=dtype)


def skip_complex(name: str, dtype: torch.dtype) -> None:
    """A prior that orders intensities refuses complex images; that is its contract."""
    if dtype.is_complex and facts(name).orders:
        with pytest.raises(ConfigError, match="orders intensities"):
            ALL[name].prox(image(name, 1, dtype=dtype), 0.1)
        pytest.skip("it refuses complex images")


@every_prior
@either_kind
@pytest.mark.parametrize("w", [1e-3, 0.3, 2.0])
def test_the_prox_minimises(name: str, dtype: torch.dtype, w: float):
    skip_complex(name, dtype)
    gap = GAP if inexact(name) else 0.0
    with torch.no_grad():
        assert_minimises(ALL[name].prox, ALL[name].value, image(name, 2, dtype=dtype), w, gap=gap)


@every_prior
def test_a_weight_of_its_own_for_each_image(name: str):
    prior, v = ALL[name], image(name, 3)
    w = torch.tensor([0.01, 0.2, 1.5], dtype=DOUBLE).reshape(3, 1, 1, 1)
    with torch.no_grad():
        assert_minimises(prior.prox, prior.value, v, w, gap=GAP if inexact(name) else 0.0)
        assert_no_image_sees_its_batch(sharp(name, 1e-4).prox, v, w)


@every_prior
@either_kind
def test_the_prox_is_firmly_nonexpansive(name: str, dtype: torch.dtype):
    skip_complex(name, dtype)
    prior = sharp(name, 1e-8)
    # the error of an inexact prox is √gap, of points 0.01 apart
    slack, pairs = (2e-2, 40) if inexact(name) else (1e-12, 1000)
    with torch.no_grad():
        assert_firmly_nonexpansive(
            lambda v: prior.prox(v, 0.4), *shape(name), dtype=dtype, slack=slack, pairs=pairs
        )


@every_prior
def test_without_weight_it_is_the_identity_and_with_little_almost(name: str):
    prior, v = ALL[name], image(name, 2)
    v[:, :, :2] = 0.5  # flat parts, where a division by the length is 0 / 0
    with torch.no_grad():
        if ALL[name].is_box or facts(name).orders:
            v = prior.prox(v, 0.0)  # with no weight, a box stays a box
        assert difference(prior.prox(v, 0.0), v) < 1e-15
        assert difference(prior.prox(v, torch.zeros(2, 1, 1, 1, dtype=DOUBLE)), v) < 1e-15
        for w in (1e-30, 1e-200):
            assert difference(prior.prox(v, w), v) < 1e-15
        gaps = [difference(prior.prox(v, w), v) for w in (1e-2, 1e-4, 1e-6)]
    if not prior.is_box:
        assert gaps[0] > 0 and gaps[1] < 0.02 * gaps[0] and gaps[2] < 0.02 * gaps[1]


@pytest.mark.parametrize("name", having("prox"))
@pytest.mark.parametrize("w", [-1e-3, math.nan, -math.inf])
def test_a_weight_that_is_no_weight_is_refused(name: str, w: float):
    with pytest.raises(ConfigError, match=r"prox: weight = .*: must be zero or positive"):
        ALL[name].prox(normal(1, 1, 4, 8), w)


@every_prior
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_prox_scales_with_its_prior(name: str, scale: float):
    degree = facts(name).degree
    if degree is None:
        pytest.skip("it has a scale of its own")
    prior, v = ALL[name], image(name, 1)
    with torch.no_grad():
        # g(sx) = s^d g(x) makes prox_{w s^(2 − d) g}(sv) = s prox_{wg}(v)
        got = prior.prox(scale * v, 0.3 * scale ** (2 - degree)) / scale
        assert difference(got, prior.prox(v, 0.3)) < (1e-6 if inexact(name) else 1e-10)


@every_prior
def test_what_sees_no_mean_leaves_it_alone(name: str):
    prior, v = ALL[name], image(name, 1)
    with torch.no_grad():
        moved = prior.prox(v + 3.0, 0.3) - 3.0
        same = difference(moved, prior.prox(v, 0.3)) < (1e-6 if inexact(name) else 1e-10)
    assert same == facts(name).flat


@every_prior
@either_kind
def test_the_gradient_of_the_prox_is_that_of_finite_differences(name: str, dtype: torch.dtype):
    skip_complex(name, dtype)
    prior = sharp(name, 1e-14)
    c, direction = (normal(1, *shape(name), seed=seed, dtype=dtype) for seed in (7, 9))
    v = normal(1, *shape(name), seed=8, dtype=dtype).requires_grad_()
    w = torch.tensor(0.1, dtype=DOUBLE, requires_grad=True)

    def loss(v: Tensor, w: Tensor) -> Tensor:
        return (prior.prox(v, w) * c.conj()).real.sum()

    in_v, in_w = torch.autograd.grad(loss(v, w), (v, w), allow_unused=True)
    assert (in_w is None) == (not prior.uses_lambda)
    h = 1e-6
    with torch.no_grad():
        numeric_w = (loss(v, w + h) - loss(v, w - h)) / (2 * h)
        numeric_v = (loss(v + h * direction, w) - loss(v - h * direction, w)) / (2 * h)
    near = 1e-5 if inexact(name) else 1e-6
    if in_w is not None:
        assert abs(float(in_w - numeric_w)) < near * abs(float(numeric_w))
    along = (in_v * direction.conj()).real.sum()
    assert abs(float(along - numeric_v)) < near * abs(float(numeric_v))


@every_prior
def test_value_with_and_without_a_recorded_gradient_is_the_same(name: str):
    prior, v = ALL[name], image(name, 2)
    with torch.no_grad():
        quiet = prior.prox(v, 0.2)
    assert torch.equal(prior.prox(v.requires_grad_(), 0.2), quiet)


def test_only_networks_are_not_held_to_be_convex():
    assert {
        "averaged",
        "crr",
        "dncnn",
        "dncnn_sigma",
        "drunet",
        "every_operator",
        "experts",
        "fastmri_unet",
        "ffdnet",
        "gradient_step",
        "ista_net",
        "ista_net_plain",
        "nonexpansive",
        "red",
        "score",
        "shrinkage",
        "spline_shrinkage",
        "unet",
        "wcrr",
    } == NONCONVEX
