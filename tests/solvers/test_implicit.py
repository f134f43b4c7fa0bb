"""The implicit gradient of any map against a dense solve, real and complex."""

from typing import NamedTuple

import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from unfold.solvers.acceleration import Anderson
from unfold.solvers.fixed_point import FixedPoint
from unfold.solvers.implicit import BackwardReport, implicit, one_step
from unfold.solvers.result import Stopping


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


def solve(transposed: object, v: Tensor) -> FixedPoint:
    return Anderson().solve(transposed, v, Stopping(tol=1e-13, max_iterations=200))


def test_of_a_linear_map_with_two_fields():
    M = 0.3 * normal(6, 6) / 3
    theta = normal(1, 6, seed=1).requires_grad_()

    def T(s: Pair) -> Pair:
        z = torch.cat((s.a, s.b), 1) @ M.mT + theta
        return Pair(z[:, :2], z[:, 2:])

    star = torch.linalg.solve(torch.eye(6, dtype=DOUBLE) - M, theta[0].detach())[None]
    report = BackwardReport()
    end = implicit(T, Pair(star[:, :2], star[:, 2:]), solve, report)
    assert difference(torch.cat(end, 1), star) < 1e-12
    c = normal(1, 6, seed=2)
    loss = (end.a * c[:, :2]).sum() + (end.b * c[:, 2:]).sum()
    (got,) = torch.autograd.grad(loss, theta)
    want = torch.linalg.solve((torch.eye(6, dtype=DOUBLE) - M).mT, c[0])
    assert difference(got[0], want) < 1e-10
    assert report.converged is not None and report.converged.all()
    assert report.residual is not None and report.iterations is not None


def test_of_a_complex_state_it_is_the_unrolled_one():
    M = 0.15 * normal(5, 5, dtype=torch.complex128)
    theta = normal(1, 5, seed=1, dtype=torch.complex128).requires_grad_()

    def T(s: Pair) -> Pair:
        a = s.a @ M.mT + theta
        return Pair(a, 0.5 * s.b + a.abs() ** 2)

    state = Pair(torch.zeros_like(theta), torch.zeros(1, 5, dtype=DOUBLE))
    for _ in range(200):
        state = T(state)
    c = normal(1, 5, seed=2)
    found = []
    fixed = Pair(*(t.detach() for t in state))
    for end in (state, implicit(T, fixed, solve, BackwardReport())):
        loss = (end.b * c).sum() + (end.a * (1 + 2j)).real.sum()
        found.append(torch.autograd.grad(loss, theta)[0])
    assert difference(found[1], found[0]) < 1e-10


def test_a_field_that_reaches_no_output_is_no_obstacle():
    theta = torch.ones(1, 3, dtype=DOUBLE, requires_grad=True)

    def T(s: Pair) -> Pair:
        return Pair(0.5 * s.a + theta, torch.zeros_like(s.b))

    end = implicit(T, Pair(2 * theta.detach(), 0 * theta.detach()), solve, BackwardReport())
    (got,) = torch.autograd.grad(end.a.sum(), theta)
    assert difference(got, 2 * torch.ones_like(got)) < 1e-10


def test_one_step_is_recorded_also_where_gradients_are_off():
    theta = torch.ones(1, 3, dtype=DOUBLE, requires_grad=True)
    with torch.no_grad():
        leaves, end = one_step(lambda s: Pair(s.a * theta, s.b), Pair(theta, theta))
    assert end.a.requires_grad and leaves.a.is_leaf


def test_a_loss_of_zero_gives_zero():
    theta = torch.ones(2, 3, dtype=DOUBLE, requires_grad=True)
    end = implicit(
        lambda s: Pair(0.5 * s.a + theta, 0.5 * s.b + theta),
        Pair(2 * theta.detach(), 2 * theta.detach()),
        solve,
        BackwardReport(),
    )
    (got,) = torch.autograd.grad((0 * end.a).sum(), theta)
    assert not got.any()
