"""Operators with one fault each, which the laws must catch; the sound ones must pass."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests import laws_physics as laws
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
    (NoConjugate, laws.assert_adjoint, "Frobenius"),
    (NoConjugate, laws.assert_dense_adjoint, "entrywise"),
    (MissingScale, laws.assert_adjoint, "Frobenius"),
    (ShiftedByAPixel, laws.assert_adjoint, "Frobenius"),
    (ShiftedByAPixel, laws.assert_autograd_adjoint, "vjp"),
    (OneWrongRow, laws.assert_adjoint, "Frobenius"),
    (HiddenSinglePrecision, laws.assert_adjoint, "Frobenius"),
    (Affine, laws.assert_linear, "A"),
    (SquaredGamma, lambda op: laws.assert_solves(op, gamma=3.0), "solve_normal"),
    (NormTooSmall, laws.assert_norm, "norm_squared ≥"),
    (BatchLeak, laws.assert_batch_invariant, "batch invariance"),
    (InPlace, lambda op: laws.assert_keeps_kind(op, dtype=torch.float64), "no input is modified"),
    (DetachedSolve, lambda op: laws.assert_solve_gradients(op, gamma=1.0), "gradient"),
    (AdjointForInverse, laws.assert_penrose, "AA⁺A"),
]


@pytest.mark.parametrize(("fault", "law", "words"), FAULTS)
def test_the_laws_catch_faults(fault: type, law: Callable[[Operator], None], words: str):
    if issubclass(fault, CircularConvolution):
        broken = fault(H, (2, 9, 8))
    else:
        broken = fault(mask(3, 2, 5, 7))
    with pytest.raises(
        (AssertionError, RuntimeError), match=words if fault is not DetachedSolve else None
    ):
        law(broken)


def test_the_references_pass_where_the_faults_do_not():
    for sound in (OPERATORS["mask"], OPERATORS["circular per channel"]):
        for law in (laws.assert_adjoint, laws.assert_linear, laws.assert_norm, laws.assert_penrose):
            law(sound)
