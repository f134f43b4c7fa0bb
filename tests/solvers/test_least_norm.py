"""Least squares of least norm: scipy's iterates, dense solutions, gradients at every scale."""

import warnings

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import lsqr as scipys
from torch import Tensor

from tests.operator_properties import dense, gap, probe
from tests.physics.instances import kernel
from unfold.physics.blur.convolution import ValidConvolution
from unfold.physics.custom.matrix import Dense
from unfold.pytree import with_tensors
from unfold.solvers.lsqr import least_norm
from unfold.solvers.result import ConvergenceWarning

SHAPE = (1, 6, 5)
BLUR = ValidConvolution(kernel(2, 1, 3, 3), SHAPE)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_iterates_are_those_of_scipys_lsqr(count: int):
    """Another recurrence of the same images."""
    y = probe(BLUR, 0, dual=True)
    with pytest.warns(ConvergenceWarning, match="least_norm: 2 of 2 samples"):
        found = least_norm(BLUR, y, max_iterations=count)
    for A, b, x in zip(dense(BLUR), y, found, strict=True):
        want = scipys(A.numpy(), b.flatten().numpy(), atol=0, btol=0, iter_lim=count)[0]
        assert np.abs(want - x.flatten().numpy()).max() < 1e-12


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1.0, 1e20])
def test_the_answer_scales_with_the_measurement(scale: float):
    y = probe(BLUR, 1, dual=True)
    y[0] *= scale
    want = torch.linalg.pinv(dense(BLUR)) @ y.flatten(1)[..., None]
    found = least_norm(BLUR, y).flatten(1)[..., None]
    for i in range(2):
        assert gap(found[i], want[i]) < 1e-11
    alone = least_norm(BLUR.take(torch.tensor([1]), 2), y[1:])
    assert gap(found[1:].flatten(), alone.flatten()) < 1e-14
    assert not least_norm(BLUR, torch.zeros_like(y)).any()


def plainly(operator: ValidConvolution, y: Tensor) -> Tensor:
    """A wide A: A⁺ = A*(AA*)⁻¹."""
    A = dense(operator)
    return (A.mH @ torch.linalg.solve(A @ A.mH, y.flatten(1)[..., None]))[..., 0].reshape(
        -1, *SHAPE
    )


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_gradients_are_the_dense_ones(scale: float):
    found = []
    for solve in (plainly, least_norm):
        y, h = probe(BLUR, 2, dual=True).requires_grad_(), BLUR.kernel.clone().requires_grad_()
        x = solve(with_tensors(BLUR, [h]), y)
        loss = scale * (x * probe(BLUR, 3)).mean()
        found.append([x, *torch.autograd.grad(loss, [y, h])])
    for want, got in zip(*found, strict=True):
        assert gap(got, want) < 1e-8


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_iterations():
    def kept(tol: float) -> int:
        sizes: list[int] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.append(t.numel()), t)[1], lambda t: t
        )
        y = probe(BLUR, 5, dual=True).requires_grad_()
        with hooks, warnings.catch_warnings():
            least_norm(BLUR, y, tol=tol)
        return sum(sizes)

    assert kept(0.5) == kept(1e-12) > 0


@pytest.mark.parametrize(("kind", "bound"), [(torch.float32, 1e-3), (torch.float64, 1e-11)])
def test_what_is_far_from_the_range_keeps_its_digits(kind, bound):
    """99 % of y is no Ax: conjugate gradients on A*Ax = A*y end in numbers without bound here."""
    g = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0] for n in (60, 30)
    )
    values = torch.logspace(0, -1, 30, dtype=torch.float64)
    inside, outside = torch.randn(2, 30, generator=g, dtype=torch.float64)
    y = 1e-2 * left[:, :30] @ inside + left[:, 30:] @ outside
    M = (left[:, :30] * values) @ right.mT
    found = least_norm(Dense(M.to(kind)[None], SHAPE), y.to(kind)[None])
    assert gap(found.flatten().double(), torch.linalg.pinv(M) @ y) < bound
