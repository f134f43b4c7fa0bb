"""The two ways to the prox of least squares: the same point, and the better one at large steps."""

import warnings
from dataclasses import replace

import pytest
import torch

from tests.operator_properties import dense, gap
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2, LeastSquares, NormalEquations
from unfold.physics.blur.convolution import ValidConvolution
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.ct.projector import Parallel, Projector
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import NoNoise
from unfold.pytree import with_tensors
from unfold.random import Draws
from unfold.solvers.conjugate_gradient import solve_normal
from unfold.solvers.result import ConvergenceWarning, watched

DRAWS = Draws(3, range(2), dtype=torch.float64)
SHAPE = (1, 7, 8)
BLUR = ValidConvolution(GaussianKernel(3, (0.7, 1.0)).sample(DRAWS), SHAPE)
OPERATORS = {
    "blur": BLUR,
    "rays": Projector(Parallel((0.0, 30.0, 75.0, 120.0), 9), SHAPE, 0.4),
    "real": MRI(NoNoise(), RandomColumns(2.0), real_images=True).sample(DRAWS, SHAPE),
    "complex": MRI(NoNoise(), RandomColumns(2.0)).sample(DRAWS, SHAPE),
    "coils": MultiCoilMRI(NoNoise(), RandomColumns(2.0), 3).sample(DRAWS, SHAPE),
}
every_operator = pytest.mark.parametrize("A", OPERATORS.values(), ids=OPERATORS)


def case(A):
    dtype = torch.complex128 if A.complex_images else DRAWS.dtype
    draws = replace(DRAWS, dtype=dtype)
    x, z, start = (draws.normal(name, SHAPE) for name in ("x", "z", "start"))
    return A.A(x) + 0.1, z, start


@every_operator
@pytest.mark.parametrize("gamma", [0.3, 40.0])
@pytest.mark.parametrize("warm", [False, True])
def test_both_are_the_dense_point(A, gamma, warm):
    y, z, start = case(A)
    kind = torch.complex128 if A.complex_images else torch.float64
    M = dense(A, dtype=kind)
    b = (z + gamma * A.A_adjoint(y)).flatten(1)[..., None]
    whole = torch.eye(M.shape[-1], dtype=M.dtype) + gamma * M.mH @ M
    want = torch.linalg.solve(whole, b.to(M.dtype))[..., 0].reshape(z.shape)
    for through in (NormalEquations(), LeastSquares()):
        f = data_term(L2(through), A, y)
        found = f.prox(z, gamma, start if warm else None)
        assert found.dtype == kind and gap(found, want) < 1e-9


def test_gradients_are_those_of_the_normal_equations():
    found = []
    for through in (NormalEquations(), LeastSquares()):
        y, z, start = (t.requires_grad_() for t in case(BLUR))
        h = BLUR.kernel.clone().requires_grad_()
        gamma = torch.tensor([0.4, 3.0]).double().reshape(2, 1, 1, 1).requires_grad_()
        f = data_term(L2(through), with_tensors(BLUR, [h]), y)
        loss = (f.prox(z, gamma, start) * DRAWS.normal("weights", SHAPE)).sum()
        found.append(torch.autograd.grad(loss, [y, z, h, gamma]))
    for one, other in zip(*found, strict=True):
        assert gap(one, other) < 1e-8


@pytest.mark.parametrize("far", [True, False], ids=["from far", "from the answer"])
def test_a_large_step_keeps_its_digits_in_single_precision(far):
    y, z, _ = case(BLUR)
    gamma = 1e5 / float(BLUR.norm_squared.max())
    for _ in range(1 if far else 2):  # the second time, z is the point of the first
        start, z = z, solve_normal(BLUR, z + gamma * BLUR.A_adjoint(y), gamma, tol=1e-13)
    single = BLUR.to_like(z.float())
    errors = [
        gap(data_term(L2(through), single, y.float()).prox(start.float(), gamma).double(), z)
        for through in (NormalEquations(), LeastSquares())
    ]
    assert errors[1] < 1e-4 and errors[0] > 10 * errors[1]


@pytest.mark.parametrize("through", [NormalEquations(), LeastSquares()])
def test_no_step_moves_nothing_and_a_step_back_is_refused(through):
    y, z, start = case(BLUR)
    f = data_term(L2(through), BLUR, y)
    for gamma in (0.0, torch.zeros(2, 1, 1, 1, dtype=torch.float64)):
        assert gap(f.prox(z, gamma, start), z) < 1e-12
    with pytest.raises(ConfigError, match=r"gamma = -1.0: must be zero or positive"):
        f.prox(z, -1.0)


COILS = MultiCoilMRI(NoNoise(), RandomColumns(2.0), 3).sample(DRAWS, (1, 16, 12))
LIMITS = [
    (NormalEquations(tol=1e-3), 1e-3),
    (NormalEquations(tol=1e-8), 1e-8),
    (NormalEquations(max_iterations=10), 1e-4),
    (NormalEquations(max_iterations=3), 0.2),
]


@pytest.mark.parametrize(("through", "size"), LIMITS, ids=lambda v: str(v)[:60])
def test_a_stated_limit_is_the_error_of_the_image_and_of_its_gradients(through, size):
    """Against the solution to 1e-12; gamma |A|^2 = 4, so that errors are up to 5 residuals."""
    draws = replace(DRAWS, dtype=torch.complex128)
    found, weights = [], draws.normal("weights", (1, 16, 12))
    for limited in (NormalEquations(), through):
        z = draws.normal("z", (1, 16, 12)).requires_grad_()
        maps = COILS.maps.clone().requires_grad_()
        gamma = torch.full((2, 1, 1, 1), 4.0, dtype=torch.float64, requires_grad=True)
        A = with_tensors(COILS, [COILS.mask, maps])
        y = COILS.A(draws.normal("x", (1, 16, 12)))
        with warnings.catch_warnings(), watched(record := []):
            warnings.simplefilter("error", ConvergenceWarning)  # ten iterations are meant
            x = data_term(L2(limited), A, y).prox(z, gamma)
            loss = (x * weights.conj()).real.sum()
            found.append((x.detach(), *torch.autograd.grad(loss, [z, maps, gamma])))
        if limited.max_iterations:
            assert len(record) == 2  # the image and its gradient, with the same limit
            assert all(int(one.iterations.max()) <= limited.max_iterations for one in record)
    for exact, near in zip(*found, strict=True):
        assert gap(near, exact) < 5 * size


def test_a_limit_of_the_run_replaces_what_the_model_asks():
    draws = replace(DRAWS, dtype=torch.complex128)
    z, y = draws.normal("z", (1, 16, 12)), COILS.A(draws.normal("x", (1, 16, 12)))
    loose = data_term(L2(NormalEquations(tol=1e-2)), COILS, y, solve_tol=1e-9).prox(z, 4.0)
    strict = data_term(L2(NormalEquations()), COILS, y, solve_tol=1e-9).prox(z, 4.0)
    assert 1e-5 < gap(loose, strict) < 5e-2
    for wrong in ({"tol": 0.0}, {"tol": 1.0}, {"max_iterations": 0}):
        with pytest.raises(ConfigError, match=f"NormalEquations.{next(iter(wrong))}"):
            NormalEquations(**wrong)
