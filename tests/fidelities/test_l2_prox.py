"""The two ways to the prox of least squares: the same point, and the better one at large steps."""

import pytest
import torch

from tests.operator_properties import dense, gap
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2, LeastSquares, NormalEquations
from unfold.physics.blur.convolution import ValidConvolution
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.ct.projector import Parallel, Projector
from unfold.physics.mri.cartesian import MRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import NoNoise
from unfold.pytree import with_tensors
from unfold.random import Draws
from unfold.solvers.conjugate_gradient import solve_normal

DRAWS = Draws(3, range(2), dtype=torch.float64)
SHAPE = (1, 7, 8)
BLUR = ValidConvolution(GaussianKernel(3, (0.7, 1.0)).sample(DRAWS), SHAPE)
OPERATORS = {
    "blur": BLUR,
    "rays": Projector(Parallel((0.0, 30.0, 75.0, 120.0), 9), SHAPE, 0.4),
    "complex": MRI(NoNoise(), RandomColumns(2.0)).sample(DRAWS, SHAPE),
}
every_operator = pytest.mark.parametrize("A", OPERATORS.values(), ids=OPERATORS)


def case(A):
    x, z, start = (DRAWS.normal(name, SHAPE) for name in ("x", "z", "start"))
    return A.A(x) + 0.1, z, start


@every_operator
@pytest.mark.parametrize("gamma", [0.3, 40.0])
@pytest.mark.parametrize("warm", [False, True])
def test_both_are_the_dense_point(A, gamma, warm):
    y, z, start = case(A)
    M = dense(A)
    b = (z + gamma * A.A_adjoint(y)).flatten(1)[..., None]
    whole = torch.eye(M.shape[-1], dtype=M.dtype) + gamma * M.mH @ M
    want = torch.linalg.solve(whole, b.to(M.dtype))[..., 0].reshape(z.shape)
    for through in (NormalEquations(), LeastSquares()):
        f = data_term(L2(through), A, y)
        found = f.prox(z, gamma, start if warm else None)
        assert gap(found, want.real) < 1e-9 and not found.is_complex()


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
