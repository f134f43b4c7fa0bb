"""Conjugate gradients against dense factorisations, at every scale, and their gradients."""

import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from tests.operator_properties import assert_pseudo_inverse, dense, dense_solve, gap, probe
from tests.physics.instances import OPERATORS, kernel
from unfold.errors import ConfigError, ShapeError
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.physics.blur.convolution import ValidConvolution
from unfold.physics.inpainting import Mask
from unfold.physics.operator import LinearOperator, Operator
from unfold.pytree import tensors, with_tensors
from unfold.solvers.conjugate_gradient import solve_normal
from unfold.solvers.lsqr import least_norm
from unfold.solvers.result import ConvergenceWarning, watched

KINDS = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
BLUR = ValidConvolution(kernel(2, 1, 3, 3), (1, 6, 5))


@dataclass(frozen=True, eq=False)
class Counted(LinearOperator):
    """Another operator that counts the calls of `normal`."""

    inner: Operator
    calls: list

    @property
    def image_shape(self):
        return self.inner.image_shape

    @property
    def measurement_shape(self):
        return self.inner.measurement_shape

    def forward(self, x):
        return self.inner.forward(x)

    def adjoint(self, y):
        return self.inner.adjoint(y)

    def normal(self, x):
        self.calls.append(len(x))
        return self.inner.normal(x)


@KINDS
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_it_is_the_dense_solution(operator: Operator, dtype: torch.dtype):
    b = probe(operator, 0, dtype=dtype)
    for gamma in (0.0, 1.0, 100.0):
        assert gap(solve_normal(operator, b, gamma), dense_solve(operator, b, gamma)) < 1e-8


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6, 1e15])
@pytest.mark.parametrize("gamma", [1.0, 10.0, 100.0])
def test_single_precision_at_every_scale_of_the_loss(scale: float, gamma: float):
    """An absolute tolerance would end the solves early here, or never."""
    double = ValidConvolution(kernel(2, 1, 5, 5), (1, 12, 12))
    found = []
    for dtype in (torch.float32, torch.float64):
        operator = double.to_like(torch.zeros(1, dtype=dtype))
        b = probe(double, 1).to(dtype).requires_grad_()
        weight = torch.full((2, 1, 1, 1), gamma, dtype=dtype, requires_grad=True)
        h = operator.kernel.clone().requires_grad_()
        solve = solve_normal if dtype == torch.float32 else dense_solve
        x = solve(with_tensors(operator, [h]), b, weight)
        loss = scale * (x * probe(double, 2).to(dtype)).mean()
        found.append([x, *torch.autograd.grad(loss, [b, weight, h])])
    for single, reference in zip(*found, strict=True):
        assert gap(single.double(), reference) < 1e-3


@KINDS
def test_first_and_second_derivatives(dtype: torch.dtype):
    def f(b: Tensor, gamma: Tensor, h: Tensor) -> Tensor:
        return solve_normal(ValidConvolution(h, (1, 3, 4)), b, gamma)

    b = torch.randn(2, 1, 3, 4, dtype=dtype, generator=torch.Generator().manual_seed(0))
    gamma = torch.tensor([0.7, 2.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    for kernels in (kernel(1, 1, 3, 3), kernel(2, 1, 3, 3)):
        inputs = [t.clone().requires_grad_() for t in (b, gamma, kernels)]
        assert gradcheck(f, inputs, fast_mode=True)
        assert gradgradcheck(f, inputs, fast_mode=True)
    inputs[1] = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(f, inputs, fast_mode=True) and gradgradcheck(f, inputs, fast_mode=True)


@KINDS
def test_derivatives_of_the_least_norm_solution(dtype: torch.dtype):
    def wide(y: Tensor, h: Tensor) -> Tensor:
        return least_norm(ValidConvolution(h, (1, 3, 4)), y)

    def deficient(y: Tensor, m: Tensor) -> Tensor:
        return least_norm(Mask(torch.where(SEEN, m, 0)), y)

    SEEN = torch.tensor([True, False, True, True]).reshape(1, 1, 2, 2)
    random = torch.Generator().manual_seed(0)
    y = torch.randn(2, 1, 2, 2, dtype=dtype, generator=random)
    cases = [(wide, y[:, :, :1], kernel(2, 1, 3, 3)), (deficient, y, 1 + kernel(2, 1, 2, 2))]
    for f, rhs, held in cases:
        inputs = [rhs.clone().requires_grad_(), held.clone().requires_grad_()]
        assert gradcheck(f, inputs, fast_mode=True)
        assert gradgradcheck(f, inputs, fast_mode=True, atol=1e-4)


def test_least_norm_of_a_deficient_operator():
    assert_pseudo_inverse(Plain(OPERATORS["mask"]))
    assert_pseudo_inverse(Plain(OPERATORS["downsampling per sample"]))


@dataclass(frozen=True, eq=False)
class Plain(LinearOperator):
    """Another operator without its closed forms."""

    inner: Operator

    @property
    def image_shape(self):
        return self.inner.image_shape

    @property
    def measurement_shape(self):
        return self.inner.measurement_shape

    def forward(self, x):
        return self.inner.forward(x)

    def adjoint(self, y):
        return self.inner.adjoint(y)


def test_a_converged_sample_does_not_change():
    h = torch.cat([kernel(1, 1, 3, 3), 5 * kernel(1, 1, 3, 3, seed=4)])
    both = ValidConvolution(h, (1, 9, 9))
    b = probe(both, 3)
    x = solve_normal(both, b, 50.0)
    for i in range(2):
        one = solve_normal(both.take(torch.tensor([i]), 2), b[i : i + 1], 50.0)
        assert gap(x[i : i + 1], one) < 1e-13


def test_zero_is_solved_by_zero_among_others():
    b = probe(BLUR, 4)
    b[0] = 0
    x = solve_normal(BLUR, b, 1.0, start=torch.ones_like(b))
    assert torch.equal(x[0], torch.zeros_like(x[0]))
    assert gap(x, dense_solve(BLUR, b, 1.0)) < 1e-10
    assert torch.equal(least_norm(BLUR, torch.zeros(2, 1, 4, 3)), torch.zeros(2, 1, 6, 5))


def test_a_warm_start_saves_work():
    operator = Counted(BLUR, [])
    b = 1e-9 * probe(BLUR, 5)
    x = solve_normal(operator, b, 30.0, tol=1e-8)
    cold = len(operator.calls)
    operator.calls.clear()
    again = solve_normal(operator, b, 30.0, tol=1e-8, start=x + 1e-7 * b)
    assert len(operator.calls) < cold
    assert gap(again, x) < 1e-6


def test_a_start_that_is_farther_than_0_costs_one_call():
    operator = Counted(BLUR, [])
    b = probe(BLUR, 5)
    cold = operator.solve_normal(b, 30.0)
    calls = len(operator.calls)
    operator.calls.clear()
    far = operator.solve_normal(b, 30.0, 1e3 * b)
    assert torch.equal(far, cold)
    assert len(operator.calls) == calls + 1


def test_a_prox_begins_at_its_argument():
    operator = Counted(BLUR, [])
    y = probe(BLUR, 5, dual=True)
    best = least_norm(BLUR, y)
    assert gap(data_term(L2(), operator, y).prox(best, 1.0), best) < 1e-11
    assert len(operator.calls) <= 2


def test_the_work_does_not_depend_on_the_scale():
    """An absolute tolerance makes the gradient of a mean loss 9 times as dear: deepinv 0.5.0."""
    counts = []
    for scale in (1e-8, 1.0, 1e8):
        operator = Counted(BLUR, [])
        b = (scale * probe(BLUR, 6)).requires_grad_()
        solve_normal(operator, b, 10.0).mean().backward()
        counts.append(len(operator.calls))
    assert len(set(counts)) == 1


def test_the_graph_does_not_grow_with_the_iterations():
    saved: list[Tensor] = []
    h = BLUR.kernel.clone().requires_grad_()
    operator = with_tensors(BLUR, [h])
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        solve_normal(operator, probe(BLUR, 7), 100.0)
    assert sum(t.numel() for t in saved) <= 2 * 30 + h.numel() + 1


def test_backward_twice_through_one_operator():
    h = BLUR.kernel.clone().requires_grad_()
    operator = with_tensors(BLUR, [h])
    b = probe(BLUR, 8)
    for _ in range(2):
        (operator.solve_normal(b, 1.0) + operator.A_adjoint(operator.A(b))).sum().backward()
    assert torch.isfinite(h.grad).all()


def test_what_did_not_converge_is_reported():
    with pytest.warns(
        ConvergenceWarning, match=r"solve_normal: 2 of 2 samples .* after 2 iterations"
    ):
        solve_normal(BLUR, probe(BLUR, 9), 1e4, max_iterations=2)
    b = probe(BLUR, 9)
    b[1, 0, 0, 0] = float("nan")
    with pytest.warns(ConvergenceWarning, match="1 of 2 samples"):
        x = solve_normal(BLUR, b, 1.0)
    assert torch.isfinite(x[0]).all()
    with pytest.warns(ConvergenceWarning, match="least_norm: 2 of 2 samples"):
        least_norm(BLUR, probe(BLUR, 9, dual=True), max_iterations=1)


def test_gamma_is_checked():
    b = probe(BLUR, 10)
    with pytest.raises(ConfigError, match=r"gamma = -1.0: must be zero or positive"):
        solve_normal(BLUR, b, -1.0)
    with pytest.raises(ShapeError, match=r"gamma has shape \(5,\) .* \(2, 1, 1, 1\)"):
        solve_normal(BLUR, b, torch.ones(5, dtype=torch.float64))


def test_under_no_grad_and_inference_mode():
    h = BLUR.kernel.clone().requires_grad_()
    operator = with_tensors(BLUR, [h])
    b = probe(BLUR, 11)
    with torch.inference_mode(), warnings.catch_warnings():
        x = operator.solve_normal(b, 1.0)
    (gradient,) = torch.autograd.grad(operator.solve_normal(b, 1.0).sum(), h)
    assert gap(x, dense_solve(BLUR, b, 1.0)) < 1e-9
    assert gradient.abs().max() > 0


def test_the_dense_reference_is_the_operator():
    b = probe(BLUR, 12)
    assert gap((dense(BLUR) @ b.flatten(1)[..., None])[..., 0], BLUR.A(b).flatten(1)) < 1e-14
    assert len(tensors(BLUR)) == 1


def test_a_record_tells_how_each_sample_ended():
    """In exact arithmetic a sample takes as many steps as it has eigenvalues, and none for 0."""
    mask = Mask(torch.tensor([[[[1.0, 0.5, 0.25, 0.0]]]], dtype=torch.float64))
    b = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.float64)
    b = b.view(3, 1, 1, 4).requires_grad_()
    record, outer = [], []
    with watched(outer), watched(record):
        solve_normal(mask, b, 3.0).sum().backward()
    solve_normal(mask, b, 3.0)  # nobody watches any more
    assert [one.name for one in record] == ["solve_normal"] * 2, "one forward, one backward"
    assert outer == record
    assert record[0].iterations.tolist() == [4, 2, 0]
    assert record[1].iterations.tolist() == [4, 4, 4], "the sum asks for every pixel"
    assert all(bool(one.converged.all()) for one in record)
    assert all(bool((one.residual <= 1e-12).all()) for one in record)
    with pytest.warns(ConvergenceWarning), watched(record):
        solve_normal(mask, b.detach(), 3.0, max_iterations=2)
    assert record[2].converged.tolist() == [False, True, True]
    assert record[2].iterations.tolist() == [2, 2, 0]
    assert record[2].residual[0] > 1e-12
