"""The bound of the norm: never below the truth, and within 1e-4 above it."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.operator_properties import assert_norm
from tests.physics.instances import OPERATORS
from unfold.physics.inpainting import Mask
from unfold.physics.operator import LinearOperator, Operator
from unfold.solvers.linear_map import norm_squared


def bound(operator):
    return norm_squared(operator, operator.start_image)


@dataclass(frozen=True, eq=False)
class Matrix(LinearOperator):
    """Ax = Mx for the matrix M of each sample, (B, m, n); images are (1, 1, n)."""

    M: Tensor

    @property
    def image_shape(self):
        return 1, 1, self.M.shape[2]

    @property
    def measurement_shape(self):
        return (self.M.shape[1],)

    def forward(self, x):
        return (self.M @ x.flatten(1)[..., None])[..., 0]

    def adjoint(self, y):
        return (self.M.mH @ y[..., None])[..., 0].reshape(len(y), 1, 1, -1)


def spectrum(values: Tensor, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> Matrix:
    """A matrix with these singular values and random singular vectors."""
    g = torch.Generator().manual_seed(seed)
    n = values.shape[-1]
    U, _ = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=dtype))
    V, _ = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=dtype))
    return Matrix((U * values.reshape(-1, 1, n)) @ V.mH)


SPECTRA = {
    "even": torch.linspace(0.1, 1, 60, dtype=torch.float64),
    "crowded at the top": 1 - torch.logspace(-5, 0, 60, dtype=torch.float64),
    "double top": torch.tensor([1.0, 1.0] + [0.5] * 58, dtype=torch.float64),
    "nearly double top": torch.tensor([1.0, 1 - 1e-6] + [0.9] * 58, dtype=torch.float64),
    "one alone": torch.tensor([1.0] + [1e-8] * 59, dtype=torch.float64),
    "tiny": 1e-12 * torch.linspace(0.1, 1, 60, dtype=torch.float64),
    "huge": 1e12 * torch.linspace(0.1, 1, 60, dtype=torch.float64),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA.keys())
def test_the_bound_is_tight_and_never_below(values: Tensor, dtype: torch.dtype):
    for seed in range(5):
        matrix = spectrum(values, dtype=dtype, seed=seed)
        excess = float(bound(matrix) / values.max() ** 2) - 1
        assert 0 <= excess <= 1e-4


def test_single_precision():
    for seed in range(5):
        matrix = Matrix(spectrum(SPECTRA["even"], seed=seed).M.float())
        assert_norm(matrix, dtype=torch.float32, tol=1e-4)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_it_agrees_with_the_closed_forms(operator: Operator):
    excess = bound(operator).double() / operator.norm_squared.double() - 1
    assert -1e-12 <= float(excess.min()) <= float(excess.max()) <= 1e-4


def test_each_sample_has_its_own():
    values = torch.stack([SPECTRA["even"], 3 * SPECTRA["crowded at the top"]])
    both = spectrum(values)
    alone = [bound(both.take(torch.tensor([i]), 2)) for i in range(2)]
    accuracy = 4e-5
    assert torch.allclose(bound(both), torch.cat(alone), rtol=accuracy)


def test_a_mask_that_sees_nothing_has_norm_zero():
    assert bound(Mask(torch.zeros(2, 1, 3, 3))).tolist() == [0.0, 0.0]


def test_it_carries_no_gradient_and_is_deterministic():
    matrix = Matrix(spectrum(SPECTRA["even"]).M.requires_grad_())
    first, second = bound(matrix), bound(matrix)
    assert not first.requires_grad and torch.equal(first, second)
    with torch.inference_mode():
        kept = bound(matrix)
    assert not kept.is_inference()
