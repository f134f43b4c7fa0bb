"""Every fidelity in configs/: its prox minimises, its conjugate obeys Moreau, its gradient fits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from tests.engine import DOUBLE, blur, difference, normal, uniform
from tests.proximal_properties import assert_firmly_nonexpansive, assert_minimises, assert_moreau
from tests.shipped import build, files
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import Fidelity, data_term
from unfold.fidelities.l2_ball import Discrepancy, L2Ball
from unfold.fidelities.poisson import PoissonFidelity
from unfold.pytree import batched_norm

ALL: dict[str, Fidelity] = {
    name: build(path, sigma=0.5) for name, path in files("fidelity").items()
}
ALL |= {"poisson_background": PoissonFidelity(0.3), "ball": L2Ball(0.7)}
CONVEX = sorted(set(ALL) - {"amplitude"})
COUNTS = {"poisson", "poisson_background"}
DIFFERENTIABLE = sorted(name for name in ALL if "grad" in ALL[name].offers())

every_convex = pytest.mark.parametrize("name", CONVEX)
either_kind = pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
gammas = pytest.mark.parametrize("gamma", [1e-3, 1.0, 50.0])


def data(name: str, batch: int = 2, dtype: torch.dtype = DOUBLE) -> Tensor:
    """A measurement in the domain of the fidelity, zeros among the counts."""
    if name in COUNTS:
        y = 3 * uniform(batch, 1, 3, 4, seed=1)
        y[:, :, 0, :2] = 0
        return y
    if name == "amplitude":
        return uniform(batch, 1, 3, 4, seed=1)
    return normal(batch, 1, 3, 4, seed=1, dtype=dtype)


def skip_complex(name: str, dtype: torch.dtype) -> None:
    """Counts refuse complex measurements; that is their contract."""
    if dtype.is_complex and name in COUNTS:
        with pytest.raises(ConfigError, match="counts real intensities"):
            ALL[name].value(normal(1, 2, dtype=dtype), uniform(1, 2))
        pytest.skip("it refuses complex measurements")


def pair(name: str, y: Tensor) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    d = ALL[name]
    return (lambda v, w: d.prox(v, y, w)), (lambda u, w: d.prox_conj(u, y, w))


@every_convex
@either_kind
@gammas
def test_the_prox_minimises(name: str, gamma: float, dtype: torch.dtype):
    skip_complex(name, dtype)
    y = data(name, dtype=dtype)
    prox, _ = pair(name, y)

    def value(z: Tensor) -> Tensor:
        return ALL[name].value(z, y.repeat(len(z) // len(y), 1, 1, 1))

    assert_minimises(prox, value, normal(*y.shape, dtype=dtype), gamma)


@every_convex
@either_kind
@gammas
def test_the_prox_and_that_of_the_conjugate_are_firmly_nonexpansive(
    name: str, gamma: float, dtype: torch.dtype
):
    skip_complex(name, dtype)
    y = data(name, 1, dtype).expand(1000, -1, -1, -1)
    for prox in pair(name, y):
        assert_firmly_nonexpansive(lambda v, p=prox: p(v, gamma), 1, 3, 4, dtype=dtype)


@every_convex
@either_kind
@gammas
def test_the_conjugate_prox_obeys_moreau(name: str, gamma: float, dtype: torch.dtype):
    skip_complex(name, dtype)
    y = data(name, dtype=dtype)
    u = normal(*y.shape, dtype=dtype)
    assert_moreau(*pair(name, y), u, gamma)
    by_moreau = Fidelity.prox_conj(ALL[name], u, y, gamma)
    assert difference(ALL[name].prox_conj(u, y, gamma), by_moreau) < 1e-10


@every_convex
def test_no_image_sees_its_batch(name: str):
    y = data(name, 3)
    v, w = normal(*y.shape), torch.tensor([0.1, 1.0, 7.0], dtype=DOUBLE).reshape(3, 1, 1, 1)
    for method in (ALL[name].prox, ALL[name].prox_conj):
        whole = method(v, y, w)
        for i in range(3):
            for own in (w[i : i + 1], w[i].item()):
                assert difference(method(v[i : i + 1], y[i : i + 1], own)[0], whole[i]) < 1e-12


@every_convex
def test_a_small_step_changes_little_and_none_nothing(name: str):
    y = data(name)
    v = ALL[name].prox(normal(*y.shape), y, 0.0)  # in the domain, or in the ball
    assert difference(ALL[name].prox(v, y, 0.0), v) < 1e-12
    gaps = [difference(ALL[name].prox(v, y, gamma), v) for gamma in (1e-4, 1e-6)]
    # at a rate of 0, the prox of counts is √γy away
    assert gaps[1] <= max(0.11 * gaps[0], 1e-12) and gaps[0] < 0.05


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("gamma", [-1.0, math.nan])
def test_a_step_that_is_no_step_is_refused(name: str, gamma: float):
    y = data(name)
    with pytest.raises(ConfigError, match=r"prox: gamma = .*: must be zero or positive"):
        ALL[name].prox(normal(*y.shape), y, gamma)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@either_kind
def test_the_gradient_is_that_of_the_value_and_of_finite_differences(name: str, dtype: torch.dtype):
    skip_complex(name, dtype)
    y = data(name, dtype=dtype)
    v = normal(*y.shape, dtype=dtype)
    v = (v.abs() + 0.1 if name in COUNTS else v).requires_grad_()
    (grad,) = torch.autograd.grad(ALL[name].value(v, y).sum(), v)
    assert difference(ALL[name].grad(v, y), grad) < 1e-12
    assert torch.autograd.gradcheck(lambda v: ALL[name].value(v, y), v, atol=1e-6)
    assert torch.autograd.gradcheck(lambda v: ALL[name].grad(v, y), v, atol=1e-6)


@every_convex
@either_kind
def test_the_gradients_of_both_proxes_are_those_of_finite_differences(
    name: str, dtype: torch.dtype
):
    skip_complex(name, dtype)
    y = data(name, 1, dtype)
    v = normal(*y.shape, dtype=dtype).requires_grad_()
    gamma = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
    for prox in pair(name, y):
        assert torch.autograd.gradcheck(prox, (v, gamma), atol=1e-6)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_gradient_is_as_lipschitz_as_it_says(name: str):
    y = data(name, 1).expand(1000, -1, -1, -1)
    a, b = normal(*y.shape, seed=5).abs(), normal(*y.shape, seed=6).abs()
    constant = torch.as_tensor(ALL[name].lipschitz(y), dtype=DOUBLE)
    assert name not in ("l2", "huber") or float(constant) == 1
    ratio = batched_norm(ALL[name].grad(a, y) - ALL[name].grad(b, y)) / batched_norm(a - b)
    assert bool((ratio <= constant * (1 + 1e-12)).all())


@pytest.mark.parametrize("name", ["poisson_background", "huber", "l1", "poisson"])
@gammas
def test_the_prox_is_what_scipy_finds_in_one_dimension(name: str, gamma: float):
    for v, y in ((-2.0, 0.0), (-0.4, 0.3), (0.02, 1.5), (3.0, 1.0)):
        low = -getattr(ALL[name], "background", 10.0) if name in COUNTS else -10.0

        def objective(u: float, v: float = v, y: float = y) -> float:
            at, against = (torch.tensor([[t]], dtype=DOUBLE) for t in (u, y))
            return gamma * float(ALL[name].value(at, against)) + 0.5 * (u - v) ** 2

        found = minimize_scalar(
            objective, bounds=(low, 10.0), method="bounded", options={"xatol": 1e-12}
        )
        got = ALL[name].prox(*(torch.tensor([[t]], dtype=DOUBLE) for t in (v, y)), gamma)
        assert float(got) == pytest.approx(float(found.x), abs=2e-6)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"l2", "l2_least_squares"}))
def test_what_has_no_prox_through_an_operator_names_what_needs_none(name: str):
    A = blur(3)
    f = data_term(ALL[name], A, uniform(1, 1, 3, 3))
    with pytest.raises(ConfigError, match=r"no prox through an operator; L2") as caught:
        f.prox(uniform(1, 1, 3, 3), 1.0)
    assert ("PDHG and PIDAL" in str(caught.value)) == (name in CONVEX)


def test_the_ball_is_as_large_as_the_noise():
    y = normal(2, 1, 5, 5)
    ball = L2Ball(Discrepancy(sigma=0.2, factor=1.1))
    x = ball.prox(y + 9 * normal(*y.shape, seed=3), y, 1.0)
    assert batched_norm(x - y).tolist() == pytest.approx([0.2 * 1.1 * 5] * 2)
    assert ball.value(x, y).tolist() == [0.0, 0.0]
    assert ball.value(y + 1.001 * (x - y), y).tolist() == [np.inf, np.inf]
    near = y + 0.5 * (x - y)
    assert torch.equal(ball.prox(near, y, 1.0), y + (near - y))
    assert torch.equal(L2Ball(0.0).prox(x, y, 1.0), y)


def test_values_without_meaning_are_refused():
    for make, words in (
        (lambda: Discrepancy(sigma=0.0), r"Discrepancy.sigma = 0.0: must be positive"),
        (lambda: L2Ball(-1.0), r"L2Ball.radius = -1.0: must be zero or positive"),
        (
            lambda: PoissonFidelity(-0.1),
            r"PoissonFidelity.background = -0.1: must be zero or positive",
        ),
        (lambda: build(files("fidelity")["huber"], delta=0.0), r"Huber.delta = 0.0: must be"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()
