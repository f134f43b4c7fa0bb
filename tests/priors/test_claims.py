"""Every prior does what it offers, and nothing that it does not: gradients, values, analysis."""

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from tests.priors.instances import ALL, having
from unfold.errors import ConfigError
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.pytree import batched_inner, batched_norm

either_kind = pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
WORDS = {"prox": "prox", "grad": "gradient", "value": "value", "analysis": "analysis operator"}


def channels(name: str) -> int:
    return 2 if name == "blurred" else 1


def image(name: str, batch: int = 1, dtype: torch.dtype = DOUBLE) -> Tensor:
    return normal(batch, channels(name), 4, 8, dtype=dtype)


def calls(prior: Prior, x: Tensor) -> dict[str, list[object]]:
    """Each thing that a prior may offer, called."""
    return {
        "prox": [lambda: prior.prox(x, 0.1)],
        "grad": [lambda: prior.grad(x)],
        "value": [lambda: prior.value(x)],
        "analysis": [
            lambda: prior.analysis.forward(x),
            lambda: prior.analysis.adjoint(x),
            lambda: prior.project(x, 0.1),
        ],
    }


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_it_does_not_offer_it_refuses_and_the_rest_works(name: str):
    prior, x = ALL[name], image(name, 2)
    assert prior.offers() <= {*WORDS, "split", "shrinkage"}
    for what, methods in calls(prior, x).items():
        if what == "analysis" and "shrinkage" in prior.offers():
            methods = methods[2:]  # it has a K
        for call in methods if what not in prior.offers() else ():
            with pytest.raises(ConfigError, match=f"{WORDS[what]}"):
                call()
    if "prox" in prior.offers():
        assert prior.prox(x, 0.1).shape == x.shape
    if "grad" in prior.offers():
        assert prior.grad(x).shape == x.shape
    if "value" in prior.offers():
        assert prior.value(x).shape == (2,)
    if "shrinkage" in prior.offers():
        u = prior.analysis.forward(x)
        assert prior.shrink(u, 0.1).shape == u.shape
        assert prior.analysis.adjoint(u).shape == x.shape


@pytest.mark.parametrize("name", sorted(set(having("grad")) & set(having("value"))))
@either_kind
def test_the_gradient_is_that_of_the_value(name: str, dtype: torch.dtype):
    x = image(name, 2, dtype).requires_grad_()
    (grad,) = torch.autograd.grad(ALL[name].value(x).sum(), x)
    assert difference(ALL[name].grad(x), grad) < 1e-12


@pytest.mark.parametrize("name", having("grad"))
def test_the_gradient_can_be_differentiated(name: str):
    x = image(name).requires_grad_()
    c = normal(*x.shape, seed=4)
    assert torch.autograd.gradcheck(lambda x: (ALL[name].grad(x) * c).sum(), x, atol=1e-6)


@pytest.mark.parametrize("name", having("value"))
def test_the_value_is_of_each_image_and_differentiable_where_it_is_flat(name: str):
    x = image(name, 3)
    whole = ALL[name].value(x)
    for i in range(3):
        assert torch.equal(ALL[name].value(x[i : i + 1]), whole[i : i + 1]) or (
            difference(ALL[name].value(x[i : i + 1]), whole[i : i + 1]) < 1e-12
        )
    flat = torch.zeros_like(x).requires_grad_()
    value = ALL[name].value(flat).sum()
    if value.requires_grad:
        (grad,) = torch.autograd.grad(value, flat)
        assert grad.isfinite().all()


@pytest.mark.parametrize("name", having("grad"))
def test_no_image_sees_its_batch_in_the_gradient(name: str):
    x = image(name, 3)
    with torch.no_grad():
        whole = ALL[name].grad(x)
        for i in range(3):
            assert difference(ALL[name].grad(x[i : i + 1]), whole[i : i + 1]) < 1e-12


@pytest.mark.parametrize("name", having("analysis"))
@either_kind
def test_an_analysis_prior_is_the_support_function_of_its_dual_ball(name: str, dtype: torch.dtype):
    prior, x = ALL[name], image(name, 2, dtype)
    d = prior.analysis.forward(x)
    q = normal(*d.shape, seed=5, dtype=dtype)
    # g(x) = h(Kx), and wh(d) = max ⟨d, p⟩ over the ball, reached where d itself points
    best = batched_inner(d, prior.project(1e9 * d, 0.7))
    assert difference(best, 0.7 * prior.value(x)) < 1e-8
    assert bool((batched_inner(d, prior.project(q, 0.7)) <= best).all())
    inside = prior.project(q, 0.7)
    assert difference(prior.project(inside, 0.7), inside) < 1e-12
    for seed in range(20):
        other = prior.project(3 * normal(*d.shape, seed=100 + seed, dtype=dtype), 0.7)
        assert float(batched_inner(q - inside, other - inside).max()) < 1e-9  # a projection
    left, right = batched_inner(d, q), batched_inner(x, prior.analysis.adjoint(q))
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
    assert bool((batched_norm(d) ** 2 <= prior.analysis_norm_squared * batched_norm(x) ** 2).all())


def test_a_method_that_a_prior_lacks_is_reported():
    with pytest.raises(ConfigError, match="Tikhonov has no analysis operator K"):
        Tikhonov().project(normal(1, 1, 4, 4), 1.0)
