"""LSQR: scipy's iterates, dense solutions, gradients at every scale of the loss; and damping."""

import warnings

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import lsqr as scipys
from torch import Tensor

from tests.laws_physics import dense, gap, probe
from tests.physics.instances import kernel
from unfold.physics.fourier import RealFourier
from unfold.physics.valid_convolution import ValidConvolution
from unfold.solvers.damped import damped_least_squares
from unfold.solvers.least_norm import CGLS, LeastSquaresMethod, least_norm
from unfold.solvers.lsqr import LSQR
from unfold.solvers.report import ConvergenceWarning
from unfold.tree import with_tensors

SHAPE = (1, 6, 5)
BLUR = ValidConvolution(kernel(2, 1, 3, 3), SHAPE)
BOTH = pytest.mark.parametrize("method", [CGLS(), LSQR()], ids=["CGLS", "LSQR"])


def stopped(count: int, y: Tensor, damp: float) -> Tensor:
    with pytest.warns(ConvergenceWarning, match="least_norm: 2 of 2 samples"):
        if damp == 0:
            return least_norm(BLUR, y, max_iterations=count, method=LSQR())
        return damped_least_squares(BLUR, y, damp, max_iterations=count)


@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_iterates_are_scipys(count: int, damp: float):
    y = probe(BLUR, 0, dual=True)
    found = stopped(count, y, damp)
    for A, b, x in zip(dense(BLUR), y, found, strict=True):
        want = scipys(A.numpy(), b.flatten().numpy(), damp, atol=0, btol=0, iter_lim=count)[0]
        assert np.abs(want - x.flatten().numpy()).max() < 1e-12


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1.0, 1e20])
def test_the_answer_scales_with_the_measurement(scale: float):
    y = probe(BLUR, 1, dual=True)
    y[0] *= scale
    want = torch.linalg.pinv(dense(BLUR)) @ y.flatten(1)[..., None]
    found = least_norm(BLUR, y, method=LSQR()).flatten(1)[..., None]
    for i in range(2):
        assert gap(found[i], want[i]) < 1e-11
    alone = least_norm(BLUR.take(torch.tensor([1]), 2), y[1:], method=LSQR())
    assert gap(found[1:].flatten(), alone.flatten()) < 1e-14
    assert not least_norm(BLUR, torch.zeros_like(y), method=LSQR()).any()


def solve_densely(operator: ValidConvolution, y: Tensor, damp: Tensor | float) -> Tensor:
    A = dense(operator)
    M = A.mH @ A + torch.as_tensor(damp).reshape(-1, 1, 1) ** 2 * torch.eye(A.shape[-1])
    return torch.linalg.solve(M, A.mH @ y.flatten(1)[..., None])[..., 0].reshape(-1, *SHAPE)


def plainly(operator: ValidConvolution, y: Tensor) -> Tensor:
    """A wide A: A⁺ = A*(AA*)⁻¹."""
    A = dense(operator)
    return (A.mH @ torch.linalg.solve(A @ A.mH, y.flatten(1)[..., None]))[..., 0].reshape(
        -1, *SHAPE
    )


@BOTH
@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("damped", [False, True])
def test_gradients_are_the_dense_ones(method: LeastSquaresMethod, scale: float, damped: bool):
    found = []
    for reference in (False, True):
        y, h = probe(BLUR, 2, dual=True).requires_grad_(), BLUR.kernel.clone().requires_grad_()
        damp = torch.tensor([0.2, 0.7]).double().reshape(2, 1, 1, 1).requires_grad_()
        operator = with_tensors(BLUR, [h])
        if damped:
            own = [y, h, damp]
            x = (
                solve_densely(operator, y, damp)
                if reference
                else damped_least_squares(operator, y, damp, method=method)
            )
        else:
            own = [y, h]
            x = plainly(operator, y) if reference else least_norm(operator, y, method=method)
        loss = scale * (x * probe(BLUR, 3)).mean()
        found.append([x, *torch.autograd.grad(loss, own)])
    for got, want in zip(*found, strict=True):
        assert gap(got, want) < 1e-8


def test_real_images_of_complex_measurements_are_damped():
    operator = RealFourier(torch.ones(1, 1, 1, 5, dtype=torch.float64), SHAPE)
    y = operator.A(probe(operator, 4))
    found = damped_least_squares(operator, y, 0.5)
    assert not found.is_complex() and gap(found, probe(operator, 4) / 1.25) < 1e-11


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_iterations():
    def kept(tol: float) -> int:
        sizes: list[int] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.append(t.numel()), t)[1], lambda t: t
        )
        y = probe(BLUR, 5, dual=True).requires_grad_()
        with hooks, warnings.catch_warnings():
            least_norm(BLUR, y, tol=tol, method=LSQR())
        return sum(sizes)

    assert kept(0.5) == kept(1e-12) > 0
