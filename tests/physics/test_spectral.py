"""Bands on one detector, and coarse beside grey: sums band by band are the references."""

import numpy as np
import pytest
import torch

from tests import operator_properties as properties
from tests.physics.definition import convolve_by_definition
from tests.physics.instances import kernel, mask
from unfold.errors import ConfigError, ShapeError
from unfold.physics.blur.kernel_files import FixedKernel
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import Downsampling
from unfold.physics.noise.base import NoNoise
from unfold.physics.spectral.coded_aperture import CodedAperture, SpectralImaging
from unfold.physics.spectral.colour import WeightedChannels
from unfold.physics.spectral.pan_sharpening import CoarseAndGrey, PanSharpening
from unfold.random import Draws

QUIET = NoNoise()
DRAWS = Draws(seed=2, images=range(3), dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64).reshape(1, 3, 1, 1)
OPERATORS = {
    "aperture": CodedAperture(mask(3, 1, 3, 5), (4, 3, 5), 2),
    "aperture, shared": CodedAperture(mask(1, 1, 3, 4), (2, 3, 4), 1),
    "aperture, unshifted": CodedAperture(mask(2, 1, 3, 4), (3, 3, 4), 0),
    "aperture, one band": CodedAperture(mask(2, 1, 3, 4), (1, 3, 4), 2),
    "coarse and grey": CoarseAndGrey(
        Downsampling(kernel(2, 1, 3, 3), (3, 4, 6), 2), WeightedChannels(WEIGHTS, (3, 4, 6))
    ),
    "coarse and grey, one band": CoarseAndGrey(
        Downsampling(kernel(1, 1, 3, 3), (1, 4, 6), 2),
        WeightedChannels(WEIGHTS[:, :1], (1, 4, 6)),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_property(name: str):
    properties.assert_properties(OPERATORS[name], dtype=properties.DOUBLE)
    properties.assert_adjoint(OPERATORS[name], dtype=torch.complex128)
    properties.assert_solves(OPERATORS[name], gamma=2.0, dtype=torch.complex128)


def test_coded_bands_are_shifted_and_summed():
    operator = SpectralImaging(QUIET, 0.5, 3).sample(DRAWS, (4, 5, 6))
    x = DRAWS.uniform("images", (4, 5, 6))
    want = np.zeros((3, 1, 5, 6 + 9))
    for c in range(4):
        want[:, 0, :, 3 * c : 3 * c + 6] += operator.mask[:, 0].numpy() * x[:, c].numpy()
    assert properties.gap(operator.A(x), torch.from_numpy(want)) < 1e-14


def test_the_aperture_is_open_as_asked_and_never_closed():
    some = SpectralImaging(QUIET, 0.3).sample(DRAWS, (2, 60, 60)).mask
    assert abs(float(some.mean()) - 0.3) < 5 * (0.21 / 10800) ** 0.5
    assert SpectralImaging(QUIET, 1e-12).sample(DRAWS, (2, 4, 4)).mask.sum() == 3
    assert SpectralImaging(QUIET, 1.0).is_deterministic
    assert SpectralImaging(QUIET, 1.0).sample(DRAWS, (2, 4, 4)).batch == 1


def test_the_coarse_bands_and_the_fine_sum():
    h = kernel(1, 1, 3, 3)[0, 0]
    physics = PanSharpening(QUIET, FixedKernel(h), 2, (0.3, -0.2, 0.9))
    operator = physics.sample(DRAWS, (3, 4, 6))
    x = DRAWS.uniform("images", (3, 4, 6))
    y = operator.A(x)
    assert y.shape == (3, 3 + 4, 2, 3) and physics.image_shape(y.shape[1:]) == (3, 4, 6)
    coarse, fine = operator.split(y)
    want = (WEIGHTS * x).sum(1, keepdim=True)
    assert properties.gap(fine, want) < 1e-14
    assert torch.equal(y[:, 3 + 2 * 1 + 0], fine[:, 0, 1::2, 0::2])
    for c in range(3):
        blurred = convolve_by_definition(x[1, c].numpy(), (h / h.sum()).numpy())
        assert np.abs(coarse[1, c].numpy() - blurred[::2, ::2]).max() < 1e-14
    equal = PanSharpening(QUIET, FixedKernel(h), 2).sample(DRAWS, (3, 4, 6))
    assert properties.gap(equal.split(equal.A(x))[1], x.mean(1, keepdim=True)) < 1e-14


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SpectralImaging(QUIET, 1.5), ConfigError, r"Imaging.keep = 1.5: must be in \(0, "),
        (lambda: SpectralImaging(QUIET, 0.5, -1), ConfigError, r"shift = -1: must be a whole"),
        (
            lambda: SpectralImaging(QUIET, 1.0).operator_for(torch.ones(1, 1, 8, 8)),
            ConfigError,
            r"does not tell how many bands .*pass the operator",
        ),
        (
            lambda: CodedAperture(mask(1, 2, 4, 4), (2, 4, 4), 1),
            ShapeError,
            r"mask must be real, \(batch or 1, 1, 4, 4\), got \(1, 2, 4, 4\)",
        ),
        (
            lambda: PanSharpening(QUIET, GaussianKernel(3, 1.0), 0),
            ConfigError,
            r"PanSharpening.factor = 0: must be a whole",
        ),
        (
            lambda: PanSharpening(QUIET, GaussianKernel(3, 1.0), 2, (0.0, 0.0)),
            ConfigError,
            r"PanSharpening.weights = \[0.0, 0.0\]: must be finite and not all 0",
        ),
        (
            lambda: PanSharpening(QUIET, GaussianKernel(3, 1.0), 2, (0.5, 0.5)).sample(
                DRAWS, (3, 4, 4)
            ),
            ShapeError,
            r"images of 3 channels and 2 weights; give one weight for each channel",
        ),
        (
            lambda: PanSharpening(QUIET, GaussianKernel(3, 1.0), 3).sample(DRAWS, (1, 8, 8)),
            ShapeError,
            r"8 x 8 pixels is not divisible by the factor 3; crop the images to multiples of 3",
        ),
        (
            lambda: CoarseAndGrey(
                Downsampling(kernel(1, 3, 3, 3), (3, 4, 6), 2), WeightedChannels(WEIGHTS, (3, 4, 6))
            ),
            ShapeError,
            r"one kernel for all channels",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
