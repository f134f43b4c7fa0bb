"""Every property, for every operator, in single and double precision, real and complex."""

import pytest
import torch

from tests import operator_properties as properties
from tests.physics.instances import OPERATORS
from unfold.physics.operator import Operator

KINDS = [torch.float64, torch.complex128]
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
every_kind = pytest.mark.parametrize("dtype", KINDS, ids=str)


@every_kind
@every_operator
def test_adjoint(operator: Operator, dtype: torch.dtype):
    properties.assert_adjoint(operator, dtype=dtype)
    properties.assert_dense_adjoint(operator, dtype=dtype)
    properties.assert_autograd_adjoint(operator, dtype=dtype)
    properties.assert_linear(operator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@every_operator
def test_single_precision(operator: Operator, dtype: torch.dtype):
    operator = operator.to_like(torch.zeros(1, dtype=dtype))
    properties.assert_adjoint(operator, dtype=dtype)
    properties.assert_linear(operator, dtype=dtype)
    properties.assert_keeps_kind(operator, dtype=dtype)
    properties.assert_solves(operator, dtype=dtype, gamma=2.0)


@every_operator
def test_norm(operator: Operator):
    properties.assert_norm(operator)
    single = operator.to_like(torch.zeros(1))
    properties.assert_norm(single, dtype=torch.float32, tol=1e-3)


@every_kind
@every_operator
def test_solutions(operator: Operator, dtype: torch.dtype):
    properties.assert_normal(operator, dtype=dtype)
    for gamma in (0.0, 0.3, 1.0, 100.0):
        properties.assert_solves(operator, dtype=dtype, gamma=gamma)
    properties.assert_scales_gamma(operator, dtype=dtype)
    properties.assert_solve_gradients(operator, dtype=dtype, gamma=1.7)


@every_kind
@every_operator
def test_pseudo_inverse(operator: Operator, dtype: torch.dtype):
    properties.assert_penrose(operator, dtype=dtype)
    properties.assert_pseudo_inverse(operator, dtype=dtype)


@every_kind
@every_operator
def test_values(operator: Operator, dtype: torch.dtype):
    properties.assert_batch_invariant(operator, dtype=dtype)
    properties.assert_keeps_kind(operator, dtype=dtype)
    properties.assert_copies(operator, dtype=dtype)
