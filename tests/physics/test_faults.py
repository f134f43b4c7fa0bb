"""Operators with one fault each, which the properties must catch; the sound ones must pass."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests import operator_properties as properties
from tests.physics.definition import assert_convolves
from tests.physics.instances import OPERATORS, kernel, mask
from tests.testing.faults import (
    AdjointForInverse,
    Affine,
    BatchLeak,
    DetachedSolve,
    HiddenSinglePrecision,
    InPlace,
    MissingScale,
    NormTooSmall,
    OneWrongRow,
    ShiftedByAPixel,
    SquaredGamma,
)
from tests.testing.faults import FlippedKernel as NoConjugate
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.operator import Operator

H = kernel(3, 2, 5, 3)


class FlippedKernel(CircularConvolution):
    def forward(self, x: Tensor) -> Tensor:
        return super().adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return super().forward(y)


FAULTS: list[tuple[type, Callable[[Operator], None], str]] = [
    (FlippedKernel, lambda op: assert_convolves(op, op.kernel), "y = h"),
    (NoConjugate, properties.assert_adjoint, "Frobenius"),
    (NoConjugate, properties.assert_dense_adjoint, "entrywise"),
    (MissingScale, properties.assert_adjoint, "Frobenius"),
    (ShiftedByAPixel, properties.assert_adjoint, "Frobenius"),
    (ShiftedByAPixel, properties.assert_autograd_adjoint, "vjp"),
    (OneWrongRow, properties.assert_adjoint, "Frobenius"),
    (HiddenSinglePrecision, properties.assert_adjoint, "Frobenius"),
    (Affine, properties.assert_linear, "A"),
    (SquaredGamma, lambda op: properties.assert_solves(op, gamma=3.0), "solve_normal"),
    (NormTooSmall, properties.assert_norm, "norm_squared ≥"),
    (BatchLeak, properties.assert_batch_invariant, "batch invariance"),
    (
        InPlace,
        lambda op: properties.assert_keeps_kind(op, dtype=torch.float64),
        "no input is modified",
    ),
    (DetachedSolve, lambda op: properties.assert_solve_gradients(op, gamma=1.0), "gradient"),
    (AdjointForInverse, properties.assert_penrose, "AA⁺A"),
]


@pytest.mark.parametrize(("fault", "check", "words"), FAULTS)
def test_the_properties_catch_faults(fault: type, check: Callable[[Operator], None], words: str):
    if issubclass(fault, CircularConvolution):
        broken = fault(H, (2, 9, 8))
    else:
        broken = fault(mask(3, 2, 5, 7))
    with pytest.raises(
        (AssertionError, RuntimeError), match=words if fault is not DetachedSolve else None
    ):
        check(broken)


def test_the_references_pass_where_the_faults_do_not():
    for sound in (OPERATORS["mask"], OPERATORS["circular per channel"]):
        for check in (
            properties.assert_adjoint,
            properties.assert_linear,
            properties.assert_norm,
            properties.assert_penrose,
        ):
            check(sound)
