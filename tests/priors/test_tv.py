"""Total variation: its differences, its gap, and an exact one-dimensional solver."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from unfold.errors import ConfigError
from unfold.priors.tv import TV, gradient, gradient_adjoint
from unfold.pytree import batched_inner
from unfold.solvers.result import ConvergenceWarning

SHAPES = [(1, 1), (1, 7), (7, 1), (2, 2), (5, 6)]


@pytest.mark.parametrize("side", SHAPES)
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_the_adjoint_of_the_gradient_is_its_adjoint(side: tuple[int, int], dtype: torch.dtype):
    for seed in range(8):
        x, u = normal(2, 3, *side, seed=seed, dtype=dtype), normal(2, 2, 3, *side, seed=seed + 99)
        u = u.to(dtype)
        left, right = batched_inner(gradient(x), u), batched_inner(x, gradient_adjoint(u))
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_the_gradient_by_its_definition():
    x, d = normal(1, 1, 4, 5), gradient(normal(1, 1, 4, 5))
    for i, j in itertools.product(range(4), range(5)):
        down = x[0, 0, i + 1, j] - x[0, 0, i, j] if i < 3 else 0
        right = x[0, 0, i, j + 1] - x[0, 0, i, j] if j < 4 else 0
        assert d[0, 0, 0, i, j] == down and d[0, 1, 0, i, j] == right


def test_the_norm_of_the_gradient_is_below_its_bound_and_near():
    eye = torch.eye(400, dtype=DOUBLE).reshape(400, 1, 20, 20)
    norm = float(torch.linalg.matrix_norm(gradient(eye).flatten(1), 2)) ** 2
    assert 0.98 * TV.analysis_norm_squared < norm < TV.analysis_norm_squared


@pytest.mark.parametrize("side", SHAPES)
def test_small_images_have_a_prox(side: tuple[int, int]):
    v = normal(2, 1, *side)
    with torch.no_grad():
        x = TV(tol=1e-10, max_iterations=5000).prox(v, 0.1)
    assert x.shape == v.shape and x.isfinite().all()
    assert difference(x.mean((2, 3)), v.mean((2, 3))) < 1e-10  # TV leaves the mean alone


def exact_1d(v: np.ndarray, w: float) -> np.ndarray:
    """The prox of w·TV in one dimension: scipy's bounded least squares on the dual."""
    n = len(v)
    D = np.diff(np.eye(n), axis=0)
    dual = lsq_linear(D.T, v, bounds=(-w, w), method="bvls", tol=1e-14)
    return v - D.T @ dual.x


@pytest.mark.parametrize("w, axis", [(0.05, "row"), (0.3, "column"), (0.8, "row")])
def test_on_a_line_it_is_the_exact_solution(w: float, axis: str):
    v = normal(1, 1, 1, 16, seed=3).cumsum(-1) * 0.3
    want = torch.from_numpy(exact_1d(v[0, 0, 0].numpy(), w)).reshape(1, 1, 1, 16)
    if axis == "column":
        v, want = v.mT, want.mT
    with torch.no_grad():
        got = TV(tol=1e-11, max_iterations=9000).prox(v.contiguous(), w)
    assert difference(got, want) < 1e-5


def gap(v: Tensor, x: Tensor, w: float) -> float:
    """How far the objective is above that of a much more accurate solution, relative."""
    tv = TV(tol=1e-9, max_iterations=20000)
    best = tv.prox(v, w)

    def objective(x: Tensor) -> Tensor:
        return w * tv.value(x) + 0.5 * (x - v).square().flatten(1).sum(1)

    return float(((objective(x) - objective(best)) / objective(best)).max())


@pytest.mark.parametrize("tol", [1e-2, 1e-4])
@pytest.mark.parametrize("w", [0.02, 0.2])
@torch.no_grad()
def test_every_image_is_within_the_gap_it_was_promised(tol: float, w: float):
    v = normal(3, 1, 10, 10) * torch.tensor([0.1, 1.0, 5.0], dtype=DOUBLE).reshape(3, 1, 1, 1)
    assert gap(v, TV(tol=tol, max_iterations=5000).prox(v, w), w) <= tol + 1e-9


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch():
    v = normal(3, 1, 10, 10) * torch.tensor([0.1, 1.0, 5.0], dtype=DOUBLE).reshape(3, 1, 1, 1)
    tv = TV(tol=1e-3, max_iterations=500)
    whole = tv.prox(v, 0.3)
    for i in range(3):
        assert difference(whole[i : i + 1], tv.prox(v[i : i + 1], 0.3)) < 1e-14


def test_its_value_is_isotropic_and_differentiable_on_flat_images():
    x = torch.zeros(1, 1, 3, 3, dtype=DOUBLE)
    x[0, 0, 1, 1] = 1.0
    assert float(TV().value(x)) == pytest.approx(2 + 2**0.5)
    flat = torch.ones(1, 1, 3, 3, dtype=DOUBLE, requires_grad=True)
    assert float(TV().value(flat.detach())) == 0
    (grad,) = torch.autograd.grad(TV().value(flat).sum(), flat)
    assert grad.isfinite().all()


def test_a_prox_that_does_not_get_there_is_reported():
    with torch.no_grad(), pytest.warns(ConvergenceWarning, match=r"1 of 1 images within 7 iter"):
        TV(tol=1e-12, max_iterations=7).prox(normal(1, 1, 8, 8), 0.5)


def test_values_without_meaning_are_refused():
    with pytest.raises(ConfigError, match=r"TV.tol = 0.0: must be positive"):
        TV(tol=0.0)
    with pytest.raises(ConfigError, match=r"TV.max_iterations = 0: must be at least 1"):
        TV(max_iterations=0)
