"""Every law, for every operator, in single and double precision, real and complex."""

import pytest
import torch

from tests import laws_physics as laws
from tests.physics.instances import OPERATORS
from unfold.physics.operator import Operator

KINDS = [torch.float64, torch.complex128]
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
every_kind = pytest.mark.parametrize("dtype", KINDS, ids=str)


@every_kind
@every_operator
def test_adjoint(operator: Operator, dtype: torch.dtype):
    laws.assert_adjoint(operator, dtype=dtype)
    laws.assert_dense_adjoint(operator, dtype=dtype)
    laws.assert_autograd_adjoint(operator, dtype=dtype)
    laws.assert_linear(operator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@every_operator
def test_single_precision(operator: Operator, dtype: torch.dtype):
    operator = operator.to_like(torch.zeros(1, dtype=dtype))
    laws.assert_adjoint(operator, dtype=dtype, tol=1e-5)
    laws.assert_linear(operator, dtype=dtype, tol=1e-5)
    laws.assert_keeps_kind(operator, dtype=dtype)
    laws.assert_solves(operator, dtype=dtype, gamma=2.0, tol=1e-4)


@every_operator
def test_norm(operator: Operator):
    laws.assert_norm(operator)
    single = operator.to_like(torch.zeros(1))
    laws.assert_norm(single, dtype=torch.float32, tol=1e-3)


@every_kind
@every_operator
def test_solutions(operator: Operator, dtype: torch.dtype):
    laws.assert_normal(operator, dtype=dtype)
    for gamma in (0.0, 0.3, 1.0, 100.0):
        laws.assert_solves(operator, dtype=dtype, gamma=gamma)
    laws.assert_scales_gamma(operator, dtype=dtype)
    laws.assert_solve_gradients(operator, dtype=dtype, gamma=1.7)


@every_kind
@every_operator
def test_pseudo_inverse(operator: Operator, dtype: torch.dtype):
    laws.assert_penrose(operator, dtype=dtype)
    laws.assert_pseudo_inverse(operator, dtype=dtype)


@every_kind
@every_operator
def test_values(operator: Operator, dtype: torch.dtype):
    laws.assert_batch_invariant(operator, dtype=dtype)
    laws.assert_keeps_kind(operator, dtype=dtype)
    laws.assert_copies(operator, dtype=dtype)
