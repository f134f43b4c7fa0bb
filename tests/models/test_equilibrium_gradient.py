"""The gradient of an equilibrium is that of the implicit function theorem, by a dense solve."""

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine import (
    DOUBLE,
    blur,
    dense_gradients,
    difference,
    inpainting,
    learned,
    measured,
    network_prior,
    reconstructor,
    weighted_loss,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import (
    EquilibriumBackward,
    Implicit,
    JacobianFree,
    Neumann,
    Phantom,
)
from unfold.models.unfolded import Unfolded
from unfold.physics.inpainting import Mask
from unfold.priors.tv import TV
from unfold.priors.wavelet import Wavelet
from unfold.solvers.acceleration import Anderson, Broyden
from unfold.solvers.fixed_point import Picard
from unfold.solvers.gmres import GMRES
from unfold.solvers.result import ConvergenceWarning

TIGHT = Implicit(tol=1e-12, max_iterations=300)
EXACT = DEQ(tol=1e-14, max_iterations=400, backward=TIGHT)
ALGORITHMS: dict[str, Any] = {
    "pgd": PGD(stepsize=0.9),
    "admm": ADMM(stepsize=0.8, beta=1.3),
    "pdhg": PDHG(stepsize=0.9, stepsize_dual=0.8),
}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def worst(got: list[Tensor], want: list[Tensor]) -> float:
    """The largest relative error of all gradients, each against the largest of its kind."""
    scale = max(float(w.abs().max()) for w in want)
    return max(float((g - w).abs().max()) for g, w in zip(got, want, strict=True)) / scale


def gradients(net: Any, y: Tensor, A: Any, scale: float = 1.0) -> tuple[list[Tensor], list[Tensor]]:
    at = [y, *learned(net)]
    got = torch.autograd.grad(weighted_loss(net(y, A), scale), at, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(got, at, strict=True)], at


@every_algorithm
@pytest.mark.parametrize("radius", [0.5, 0.9, 0.97, 0.99])
def test_in_scalars_and_y_at_any_contraction_and_scale(name: str, radius: float):
    # A missing pixel contracts by 1 / (1 + τλ): that sets how slow the iteration is.
    algorithm, A = ALGORITHMS[name], inpainting()
    lam = (1 / radius - 1) / algorithm.stepsize
    net = reconstructor(replace(algorithm, lambda_reg=lam), EXACT)
    y = measured(A).requires_grad_()
    want, found = dense_gradients(net, y, A, [y, *learned(net)])
    assert 1 - 1.35 * (1 - radius) < found < 1  # ADMM over-relaxes
    for scale in (1e-6, 1.0, 1e6):
        got, _ = gradients(net, y, A, scale)
        got = [g / scale for g in got]
        assert worst(got, want) < 1e-6
        assert worst(got[1:], want[1:]) < 1e-6  # the scalars by themselves


@every_algorithm
def test_in_the_weights_of_a_network(name: str):
    net = reconstructor(ALGORITHMS[name], EXACT, network_prior())
    A = blur(4)
    y = measured(A).requires_grad_()
    got, at = gradients(net, y, A)
    assert len(at) >= 4  # the measurement, a step size, filters, thresholds
    want, found = dense_gradients(net, y, A, at)
    assert 0.3 < found < 1
    for g, w in zip(got, want, strict=True):  # each by itself: none is lost among larger ones
        assert difference(g, w) < 1e-6 or float((g - w).abs().max()) < 1e-10


@every_algorithm
def test_of_a_wavelet_prior_it_is_the_unrolled_one(name: str):
    A, y = blur(4, batch=2), measured(blur(4, batch=2), batch=2)
    grads = []
    for model in (EXACT, Unfolded(200)):
        net = reconstructor(ALGORITHMS[name], model, Wavelet("haar", 1))
        grads.append(gradients(net, y.clone().requires_grad_(), A)[0])
    assert worst(*grads) < 1e-6 and worst(grads[0][1:], grads[1][1:]) < 1e-6


@pytest.mark.parametrize("algorithm", [CondatVu(lambda_reg=0.02), AnalysisPDHG(lambda_reg=0.02)])
def test_of_total_variation_it_is_the_unrolled_one(algorithm: Any):
    A = blur(4)
    y = measured(A, noise=0.02)
    grads = []
    for model in (EXACT, Unfolded(300)):
        net = reconstructor(algorithm, model, TV(), learn=["algo.lambda_reg"])
        grads.append(gradients(net, y.clone().requires_grad_(), A)[0])
    assert worst(*grads) < 1e-6 and worst(grads[0][1:], grads[1][1:]) < 1e-6


def test_with_an_exact_prox_the_step_size_has_no_gradient_and_the_weight_has():
    A = inpainting()
    net = reconstructor(PGD(stepsize=0.9), EXACT)
    (_, in_step, in_lam), _ = gradients(net, measured(A).requires_grad_(), A)
    assert abs(float(in_step)) < 1e-9 < 1e-3 < abs(float(in_lam))


def parts(backward: EquilibriumBackward) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient in λ under a backward, and v, J, ∂T/∂λ, to say what it should be."""
    from tests.engine import equilibrium, jacobian

    A = blur(4)
    y = measured(A)
    model = DEQ(tol=1e-14, max_iterations=400, backward=backward)
    net = reconstructor(PGD(stepsize=0.3, lambda_reg=0.4), model, learn=["algo.lambda_reg"])
    image = net(y, A)
    (got,) = torch.autograd.grad(weighted_loss(image), learned(net))
    state = equilibrium(net, y, A)
    J = jacobian(net, y, A, state)
    x = state.x.detach().requires_grad_()
    (v,) = torch.autograd.grad(weighted_loss(x), x)
    (raw,) = learned(net)
    eye = torch.eye(16, dtype=DOUBLE)
    rows = [
        torch.autograd.grad(net.steps(y, A).step(0, state).x.flatten()[i], raw)[0]
        for i in range(16)
    ]
    return got, v.flatten(), J, torch.stack(rows), eye


def test_jacobian_free_is_the_gradient_of_the_last_step():
    got, v, _, in_lam, _ = parts(JacobianFree())
    assert difference(got, v @ in_lam) < 1e-9


def test_neumann_is_the_sum_of_its_first_terms():
    for terms in (0, 1, 4):
        got, v, J, in_lam, _ = parts(Neumann(terms))
        w = sum(torch.linalg.matrix_power(J.mT, i) @ v for i in range(terms + 1))
        assert difference(got, w @ in_lam) < 1e-9


def test_phantom_is_the_gradient_of_damped_steps():
    for steps, damping in ((1, 0.3), (3, 0.5), (5, 1.0)):
        got, v, J, in_lam, eye = parts(Phantom(steps, damping))
        damped = (1 - damping) * eye + damping * J.mT
        w = damping * sum(torch.linalg.matrix_power(damped, i) @ v for i in range(steps))
        assert difference(got, w @ in_lam) < 1e-9


def test_the_approximations_approach_the_exact_gradient():
    exact, *_ = parts(TIGHT)
    for backwards in ((Neumann(0), Neumann(5), Neumann(60)), (Phantom(1), Phantom(9), Phantom(99))):
        errors = [difference(parts(b)[0], exact) for b in backwards]
        assert errors[0] > 10 * errors[1] > 100 * errors[2] or errors[2] < 1e-6 < errors[1]


def spread() -> Mask:
    """Weights from 0 to 1: no few vectors span what Anderson acceleration has to mix."""
    return Mask(torch.linspace(0, 1, 16, dtype=DOUBLE).reshape(1, 1, 4, 4))


@pytest.mark.parametrize("radius", [0.5, 0.9, 0.97])
def test_the_defaults_are_near_the_exact_gradient_and_not_by_luck(radius: float):
    A, grads = spread(), []
    y = measured(A)
    for model in (DEQ(), EXACT, DEQ(backward=JacobianFree())):
        net = reconstructor(PGD(lambda_reg=1 / radius - 1), model)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            grads.append(gradients(net, y.clone().requires_grad_(), A)[0])
    assert worst(grads[0], grads[1]) < 1e-2 < worst(grads[2], grads[1])


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
def test_the_backward_solve_reaches_its_own_tolerance_and_is_reported(tol: float):
    A = spread()
    for solver in (GMRES(), Anderson(), Broyden(), Picard()):
        backward = Implicit(tol, max_iterations=900, solver=solver)
        model = DEQ(tol=1e-12, max_iterations=300, backward=backward)
        net = reconstructor(PGD(lambda_reg=0.02), model)
        solution = net.solve(measured(A), A)
        weighted_loss(solution.image).backward()
        report = solution.backward
        assert report.converged.all() and 0 < float(report.residual) <= tol
        assert 0 < float(report.error) <= backward.accuracy


def test_a_cotangent_far_from_1_does_not_change_the_solve():
    A = inpainting()
    y = measured(A).float()
    net = reconstructor(PGD(lambda_reg=0.1), DEQ(tol=1e-5)).float()
    found = []
    for scale in (1e-30, 1.0, 1e25):
        image = net(y, A.to_like(y))
        found.append(torch.autograd.grad(image.sum() * scale, learned(net)[1])[0] / scale)
    assert difference(found[0], found[1]) < 1e-4 and difference(found[2], found[1]) < 1e-4


def test_every_solver_finds_the_same_gradient():
    A = blur(4)
    y = measured(A)
    grads = []
    pairs = ((Anderson(), GMRES()), (Broyden(), Broyden()), (Picard(), Picard()))
    for solver, transposed in pairs:
        backward = Implicit(tol=1e-12, max_iterations=2000, solver=transposed)
        model = DEQ(tol=1e-14, max_iterations=2000, solver=solver, backward=backward)
        net = reconstructor(PDHG(), model, network_prior())
        grads.append(gradients(net, y.clone().requires_grad_(), A)[0])
    assert worst(grads[0], grads[2]) < 1e-9 and worst(grads[1], grads[2]) < 1e-9
