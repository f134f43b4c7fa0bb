"""Compressed sensing and colour: scipy's transforms and plain matrices are the references."""

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch

from tests import operator_properties as properties
from unfold.errors import ConfigError, ShapeError
from unfold.physics.blur.padding import ZeroPadding
from unfold.physics.noise.base import NoNoise
from unfold.physics.sensing.compressed import (
    Coefficients,
    CompressedSensing,
    Cosine,
    SinglePixel,
    Walsh,
)
from unfold.physics.sensing.gaussian import BlockCompressedSensing, BlockMatrix
from unfold.physics.spectral.colour import (
    PATTERNS,
    Colorization,
    Demosaicing,
    Mosaic,
    WeightedChannels,
)
from unfold.random import Draws

DRAWS = Draws(seed=2, images=range(3), dtype=torch.float64)
QUIET = NoNoise()
PLACES = torch.zeros(1, 2, dtype=torch.long)
OPERATORS = {
    "blocks": BlockCompressedSensing(QUIET, 3, 0.4).sample(DRAWS, (2, 6, 9)),
    "cosine": CompressedSensing(QUIET, 0.3).sample(DRAWS, (2, 5, 7)),
    "walsh": SinglePixel(QUIET, 0.4).sample(DRAWS, (1, 8, 8)),
    "mosaic": Mosaic("GRBG", (3, 5, 6)),
    "grey": Colorization(QUIET).sample(DRAWS, (3, 4, 5)),
    "weights per sample": WeightedChannels(DRAWS.uniform("w", (2, 1, 1)), (2, 3, 4)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_every_property(name: str, dtype: torch.dtype):
    operator = OPERATORS[name]
    properties.assert_properties(operator, dtype=dtype)


@pytest.mark.parametrize("name", [n for n in OPERATORS if n not in ("grey", "weights per sample")])
def test_the_rows_are_orthonormal(name: str):
    matrix = properties.dense(OPERATORS[name])
    eye = torch.eye(matrix.shape[1], dtype=torch.float64).expand(len(matrix), -1, -1)
    assert properties.gap(matrix @ matrix.mT, eye) < 1e-12


def test_blocks_are_multiplied_one_by_one():
    operator = OPERATORS["blocks"]
    x = DRAWS.uniform("images", (2, 6, 9))
    y, phi = operator.A(x), operator.matrix[0].numpy()
    assert y.shape == (3, 2, 4, 2, 3) and phi.shape == (4, 9)
    for down in range(2):
        for across in range(3):
            block = x[1, 1, 3 * down : 3 * down + 3, 3 * across : 3 * across + 3].numpy()
            want = torch.from_numpy(phi @ block.ravel())
            assert properties.gap(y[1, 1, :, down, across], want) < 1e-13


def test_images_that_are_not_multiples_of_blocks_are_padded_with_zeros():
    physics = BlockCompressedSensing(QUIET, 3, 0.5)
    operator = physics.sample(DRAWS, (2, 4, 5))
    x = DRAWS.uniform("images", (2, 4, 5))
    whole = physics.sample(DRAWS, (2, 6, 6))
    want = whole.A(torch.nn.functional.pad(x, (0, 1, 0, 2)))
    assert isinstance(whole, BlockMatrix) and torch.equal(operator.A(x), want)
    assert physics.image_shape(want.shape[1:]) == (2, 6, 6)
    properties.assert_matrix_properties(operator, dtype=properties.DOUBLE)
    properties.assert_pseudo_inverse(operator)
    properties.assert_properties(ZeroPadding((1, 2, 3), 4, 3), dtype=properties.DOUBLE)


def test_the_matrix_is_that_of_its_seed():
    same = BlockCompressedSensing(QUIET, 4, 0.5, 1).rows
    assert torch.equal(same, BlockCompressedSensing(QUIET, 4, 0.5, 1).rows)
    assert not torch.equal(same, BlockCompressedSensing(QUIET, 4, 0.5, 2).rows)
    assert BlockCompressedSensing(QUIET, 33, 0.25).rows.shape == (1, 272, 1089)


def test_the_rows_are_gaussian_distributed():
    """The first coordinates of orthonormal Gaussian rows: mean 0, variance 1/n, kurtosis near 3."""
    phi = BlockCompressedSensing(QUIET, 20, 0.5).rows.numpy() * 20
    assert abs(phi.mean()) < 0.02 and abs(phi.var() - 1) < 1e-3
    assert abs((phi**4).mean() - 3) < 0.1


def test_a_learned_matrix_has_the_gradient_of_its_own_problem():
    matrix = OPERATORS["blocks"].matrix.clone().requires_grad_()
    operator = BlockMatrix(matrix, (1, 3, 3))
    b = DRAWS.normal("b", (1, 3, 3))
    (got,) = torch.autograd.grad(operator.solve_normal(b, 2.0).square().sum(), matrix)
    (want,) = torch.autograd.grad(properties.dense_solve(operator, b, 2.0).square().sum(), matrix)
    assert properties.gap(got, want) < 1e-8


def test_the_cosine_transform_is_scipys():
    operator = OPERATORS["cosine"]
    x = DRAWS.uniform("images", (2, 5, 7))
    spread = operator.signs.numpy() * x.numpy()
    spectrum = scipy.fft.dctn(spread, axes=(-2, -1), norm="ortho").reshape(3, 2, 35)
    want = np.take_along_axis(spectrum, operator.kept.numpy()[:, None], 2)
    assert properties.gap(operator.A(x), torch.from_numpy(want)) < 1e-13
    assert len(set(operator.kept[0].tolist())) == 10 == operator.kept.shape[1]


def test_walsh_patterns_are_scipys_hadamard_rows_in_the_order_of_sign_changes():
    q = Walsh().values(16) * 4
    changes = (np.diff(q, axis=1) != 0).sum(1)
    assert changes.tolist() == list(range(16))
    rows = {tuple(row) for row in scipy.linalg.hadamard(16).tolist()}
    assert {tuple(row) for row in q.astype(int).tolist()} == rows
    assert Cosine().values(1).tolist() == Walsh().values(1).tolist() == [[1.0]]


def test_one_pixel_sees_slow_patterns_first():
    operator = SinglePixel(QUIET, 0.25).sample(DRAWS, (1, 8, 8))
    places = operator.kept[0]
    slowness = places // 8 + places % 8
    assert len(places) == 16 and int(slowness.max()) == 5
    flat = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    y = operator.A(flat)
    assert abs(float(y[0, 0, 0]) - 4.0) < 1e-12 and float(y[0, 0, 1:].abs().max()) < 1e-12
    assert SinglePixel(QUIET, 0.25).image_shape((2, 16)) == (2, 8, 8)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_mosaic_pixel_by_pixel(pattern: str):
    x = DRAWS.uniform("images", (3, 5, 4))
    y = Demosaicing(QUIET, pattern).measure(x, DRAWS).y
    for row in range(5):
        for column in range(4):
            channel = "RGB".index(pattern[2 * (row % 2) + column % 2])
            assert torch.equal(y[:, 0, row, column], x[:, channel, row, column])


def test_grey_is_the_weighted_sum():
    x = DRAWS.uniform("images", (3, 5, 4))
    y = Colorization(QUIET).measure(x, DRAWS).y
    want = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    assert properties.gap(y, want) < 1e-14


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: BlockCompressedSensing(QUIET, 0), ConfigError, r"block = 0: must be a whole"),
        (lambda: CompressedSensing(QUIET, 0.0), ConfigError, r"Sensing.ratio = 0.0: must be in"),
        (lambda: SinglePixel(QUIET, 1.5), ConfigError, r"SinglePixel.ratio = 1.5: must be in"),
        (lambda: Demosaicing(QUIET, "RGB"), ConfigError, r"pattern = 'RGB': must be one of .*RGGB"),
        (lambda: Colorization(QUIET, (0.0, 0.0)), ConfigError, r"weights = \[0.0, 0.0\]: must be"),
        (
            lambda: BlockMatrix(torch.ones(1, 2, 9), (1, 6, 7)),
            ShapeError,
            r"6 x 7 pixels is not made of blocks of 3 x 3; crop the images to multiples of 3",
        ),
        (
            lambda: ZeroPadding((1, 4, 4), 3, 4),
            ShapeError,
            r"3 x 4 pixels do not hold an image of 4",
        ),
        (
            lambda: SinglePixel(QUIET).sample(DRAWS, (1, 48, 48)),
            ShapeError,
            r"Walsh: a side of 48 pixels is no power of 2",
        ),
        (
            lambda: SinglePixel(QUIET).sample(DRAWS, (1, 16, 32)),
            ShapeError,
            r"SinglePixel: an image of 16 x 32 pixels is not square",
        ),
        (
            lambda: Demosaicing(QUIET).sample(DRAWS, (1, 8, 8)),
            ShapeError,
            r"an image of 1 channels has no colours; three channels are needed",
        ),
        (
            lambda: Colorization(QUIET).sample(DRAWS, (1, 8, 8)),
            ShapeError,
            r"images of 1 channels and 3 weights; give one weight for each channel",
        ),
        (
            lambda: Coefficients(
                torch.ones(1, 1, 4, 4), torch.zeros(1, 2).long(), Cosine(), (1, 4, 4)
            ),
            ShapeError,
            r"Coefficients.signs must be whole numbers",
        ),
        (
            lambda: BlockMatrix(torch.ones(1, 2, 8), (1, 4, 4)),
            ShapeError,
            r"BlockMatrix.matrix must be \(1, m, n²\), got \(1, 2, 8\)",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
