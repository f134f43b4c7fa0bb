"""Blur beyond the border and from place to place: scipy and sums over places are the references."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from tests import operator_properties as properties
from tests.physics.instances import kernel
from unfold.errors import ConfigError, ShapeError
from unfold.physics.blur.blur import PaddedBlur, VaryingBlur, VaryingConvolution, hats
from unfold.physics.blur.kernel_files import FixedKernel
from unfold.physics.blur.kernels import GaussianKernel, MotionKernel
from unfold.physics.blur.padding import BOUNDARIES, Padding
from unfold.physics.noise.base import NoNoise
from unfold.random import Draws

QUIET = NoNoise()
DRAWS = Draws(seed=2, images=range(3), dtype=torch.float64)
SCIPY = {"reflect": "mirror", "symmetric": "reflect", "replicate": "nearest"}
NUMPY = {"reflect": "reflect", "symmetric": "symmetric", "replicate": "edge"}
every_boundary = pytest.mark.parametrize("boundary", BOUNDARIES)


@every_boundary
def test_the_border_is_scipys(boundary: str):
    h = kernel(1, 1, 5, 7)[0, 0]
    x = DRAWS.uniform("images", (2, 9, 8))
    operator = PaddedBlur(QUIET, FixedKernel(h), boundary).sample(DRAWS, (2, 9, 8))
    want = scipy.ndimage.convolve(x, (h / h.sum())[None, None], mode=SCIPY[boundary])
    assert properties.gap(operator.A(x), torch.from_numpy(want)) < 1e-13


@every_boundary
@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 1, 3), (1, 2, 2)])
def test_padding_is_numpys(boundary: str, shape: tuple[int, int, int]):
    x = DRAWS.uniform("images", shape)
    operator = Padding(shape, 3, 5, boundary)
    want = np.pad(x.numpy(), ((0, 0), (0, 0), (3, 3), (5, 5)), mode=NUMPY[boundary])
    assert torch.equal(operator.A(x), torch.from_numpy(want))
    properties.assert_dense_adjoint(operator)


@every_boundary
def test_padding_has_every_property(boundary: str):
    properties.assert_properties(Padding((2, 3, 4), 2, 5, boundary), dtype=properties.DOUBLE)
    properties.assert_keeps_kind(Padding((1, 3, 4), 1, 0, boundary), dtype=torch.complex128)


def test_padded_blur_has_its_properties():
    h = kernel(3, 1, 3, 3)
    operator = PaddedBlur(QUIET, GaussianKernel(3, (0.3, 0.5)), "replicate").sample(
        DRAWS, (2, 4, 5)
    )
    assert operator.outer.kernel.shape == h.shape
    properties.assert_properties(operator, dtype=properties.DOUBLE)


def test_a_varying_blur_is_the_sum_over_points_of_light():
    """Column by column: the image of the point v is Σ_k w_k(v) h_k around v."""
    operator = VaryingBlur(QUIET, MotionKernel(3, (1.0, 2.0)), (2, 3)).sample(DRAWS, (1, 5, 6))
    matrices = properties.dense(operator)
    for i in range(3):
        for place in range(30):
            row, column = divmod(place, 6)
            seen = np.zeros((5, 6))
            for k in range(6):
                share = operator.weights[0, k, row, column].item()
                for u in range(3):
                    for v in range(3):
                        at = (row + u - 1) % 5, (column + v - 1) % 6
                        seen[at] += share * operator.kernels[i, k, u, v].item()
            assert np.abs(matrices[i, :, place].numpy() - seen.ravel()).max() < 1e-14


def test_a_varying_blur_keeps_all_light_and_has_every_property():
    operator = VaryingBlur(QUIET, GaussianKernel(3, (0.3, 0.6)), (2, 2)).sample(DRAWS, (2, 4, 5))
    x = DRAWS.uniform("images", (2, 4, 5))
    assert properties.gap(operator.A(x).sum((2, 3)), x.sum((2, 3))) < 1e-14
    properties.assert_properties(operator, dtype=properties.DOUBLE)
    properties.assert_adjoint(operator, dtype=torch.complex128)
    assert properties.gap(operator.A(x + 0j), operator.A(x) + 0j) < 1e-14


def test_equal_kernels_are_a_plain_blur():
    h, x = kernel(1, 1, 3, 3), DRAWS.uniform("images", (1, 6, 7))
    weights = torch.from_numpy(hats(3, 6)[:, :, None] * np.ones(7))[None]
    varying = VaryingConvolution(h.expand(1, 3, 3, 3), weights, (1, 6, 7))
    want = scipy.ndimage.convolve(x, h, mode="wrap")
    assert properties.gap(varying.A(x), torch.from_numpy(want)) < 1e-13


@pytest.mark.parametrize(("count", "size"), [(1, 5), (2, 1), (3, 1), (3, 8), (4, 3)])
def test_weights_sum_to_one(count: int, size: int):
    w = hats(count, size)
    assert w.shape == (count, size) and w.min() >= 0
    assert np.abs(w.sum(0) - 1).max() < 1e-15


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: PaddedBlur(QUIET, GaussianKernel(3, 1.0), "replicat"),
            ConfigError,
            r"PaddedBlur.boundary = 'replicat': must be.*, did you mean 'replicate'",
        ),
        (
            lambda: PaddedBlur(QUIET, GaussianKernel(9, 1.0)).sample(DRAWS, (1, 8, 12)),
            ShapeError,
            r"PaddedBlur: a kernel of 9 x 9 pixels is larger than the image of 8 x 12",
        ),
        (
            lambda: Padding((1, 4, 4), -1, 0, "reflect"),
            ShapeError,
            r"-1 rows .*; ZeroPadding\(...\).H crops",
        ),
        (
            lambda: VaryingBlur(QUIET, GaussianKernel(3, (0.5, 1.0)), (1, 1)),
            ConfigError,
            r"VaryingBlur.grid = \[1, 1\]: must be \[down, across\]",
        ),
        (
            lambda: VaryingBlur(QUIET, GaussianKernel(3, 1.0)),
            ConfigError,
            r"VaryingBlur.kernel: the distribution has a single kernel.*or take Blur",
        ),
        (
            lambda: VaryingConvolution(kernel(1, 2, 3, 3), torch.ones(1, 1, 4, 4), (1, 4, 4)),
            ShapeError,
            r"weights must be real, \(1, 2, 4, 4\), got \(1, 1, 4, 4\)",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
