"""Phase retrieval by random matrices and by ptychography: plain sums are the references."""

import numpy as np
import pytest
import torch

from tests import operator_properties as properties
from unfold.errors import ConfigError, ShapeError
from unfold.fidelities.amplitude import Amplitude
from unfold.fidelities.fidelity import data_term
from unfold.initialization import Spectral
from unfold.physics.base import Physics
from unfold.physics.mixture import Mixture, PerFamilyNoise
from unfold.physics.noise.base import NoNoise
from unfold.physics.phase.ptychography import ProbeScan, Ptychography
from unfold.physics.phase.retrieval import ChannelwiseMatrix, RandomPhaseRetrieval
from unfold.physics.wrapped import RealImages
from unfold.random import Draws

QUIET = NoNoise()
DRAWS = Draws(seed=2, images=range(2), dtype=torch.float64)
REAL, COMPLEX = torch.float64, torch.complex128
SMALL = Ptychography(QUIET, 4, 2, 0.7)
RANDOM = RandomPhaseRetrieval(QUIET, 2.5)
OPERATORS = {
    "scan": (SMALL.complex_operator(DRAWS, (2, 4, 6)), COMPLEX),
    "real scan": (SMALL.sample(DRAWS, (1, 6, 4)), REAL),
    "scan without overlap": (Ptychography(QUIET, 2, 2).sample(DRAWS, (1, 4, 4)), REAL),
    "matrix": (RANDOM.complex_operator(DRAWS, (2, 2, 3)), COMPLEX),
    "real images": (RANDOM.sample(DRAWS, (1, 3, 3)), REAL),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_property(name: str):
    operator, dtype = OPERATORS[name]
    properties.assert_properties(operator, dtype=dtype)


def test_the_scan_window_by_window():
    operator = Ptychography(QUIET, 6, 2, 0.4).sample(DRAWS, (2, 10, 8))
    x = DRAWS.uniform("images", (2, 10, 8))
    y = operator.A(x)
    assert y.shape == (2, 2, 3, 2, 6, 6)
    probe = operator.operator.probe[0, 0].numpy()
    for i in range(3):
        for j in range(2):
            window = x[1, 1, 2 * i : 2 * i + 6, 2 * j : 2 * j + 6].numpy()
            want = np.fft.fft2(probe * window, norm="ortho")
            assert np.abs(y[1, 1, i, j].numpy() - want).max() < 1e-14


def test_the_probe_is_that_of_the_formula():
    operator = SMALL.complex_operator(DRAWS, (1, 8, 8))
    p = operator.probe[0, 0].numpy()
    u = np.arange(4) - 1.5
    squared = u[:, None] ** 2 + u**2
    assert np.abs(np.abs(p / p[1, 1]) - np.exp(-(squared - 0.5) / 2)).max() < 1e-14
    turned = np.exp(1j * np.pi * 0.7 * (squared - 0.5))
    assert np.abs(p / p[1, 1] / np.abs(p / p[1, 1]) - turned).max() < 1e-13
    assert abs(float(operator.power.max()) - 1) < 1e-14


def test_the_matrix_is_gaussian_and_that_of_its_seed():
    matrix = RANDOM.complex_operator(DRAWS, (1, 20, 30)).matrix
    assert matrix.shape == (1, 1500, 600)
    parts = torch.view_as_real(matrix).flatten().numpy() * 3000**0.5
    assert abs(parts.mean()) < 0.005 and abs(parts.var() - 1) < 0.01
    assert abs((parts**4).mean() - 3) < 0.05
    assert abs(float((matrix.real * matrix.imag).mean()) * 3000) < 0.01
    other = RandomPhaseRetrieval(QUIET, 2.5, 1).complex_operator(DRAWS, (1, 20, 30)).matrix
    assert abs(float((matrix.conj() * other).real.mean()) * 3000) < 0.02


@pytest.mark.parametrize("physics", [RANDOM, SMALL], ids=lambda v: type(v).__name__)
def test_only_amplitudes_are_observed(physics: Physics):
    x = DRAWS.uniform("images", (1, 8, 8))
    y, operator = physics.measure(x, DRAWS)
    assert not y.is_complex() and properties.gap(y, operator.A(x).abs()) < 1e-14
    assert properties.gap(physics.measure(-x, DRAWS).y, y) < 1e-14
    complex_operator = physics.complex_operator(DRAWS, (1, 8, 8))
    assert properties.gap(complex_operator.A(x + 0j), operator.A(x)) < 1e-14
    assert physics.operator_for(y, (1, 8, 8)).image_shape == (1, 8, 8)


def test_the_spectral_start_finds_the_image_behind_a_random_matrix():
    x = DRAWS.uniform("images", (1, 8, 8))
    y, operator = RandomPhaseRetrieval(QUIET, 16.0).measure(x, DRAWS)
    found = Spectral(100).image(data_term(Amplitude(), operator, y))
    cosine = torch.cosine_similarity(found.flatten(1), x.flatten(1)).abs()
    assert float(cosine.min()) > 0.9


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RandomPhaseRetrieval(QUIET, 0.0), ConfigError, r"ratio = 0.0: must be positive"),
        (
            lambda: RandomPhaseRetrieval(QUIET).sample(DRAWS, (1, 128, 128)),
            ShapeError,
            r"dense matrix of 65536 x 16384; use images of at most 45 x 45",
        ),
        (
            lambda: RandomPhaseRetrieval(QUIET).operator_for(torch.ones(1, 1, 7)),
            ConfigError,
            r"measurements of \(1, 7\) do not tell the sides of the image",
        ),
        (
            lambda: ChannelwiseMatrix(torch.ones(1, 3, 8) + 0j, (1, 3, 3)),
            ShapeError,
            r"matrix must be complex, \(1, m, 9\), got \(1, 3, 8\)",
        ),
        (lambda: Ptychography(QUIET, 1), ConfigError, r"Ptychography.side = 1: must be a whole"),
        (lambda: Ptychography(QUIET, 8, 3), ConfigError, r"step = 3: .* divide side = 8"),
        (
            lambda: Ptychography(QUIET, 8, 0),
            ConfigError,
            r"step = 0: must be a whole number of at least 1",
        ),
        (
            lambda: Ptychography(QUIET, 8, 4, float("nan")),
            ConfigError,
            r"Ptychography.defocus = nan: must be finite",
        ),
        (
            lambda: Ptychography(QUIET).sample(DRAWS, (1, 15, 17)),
            ShapeError,
            r"a probe of 16 x 16 pixels in steps of 8 does not scan .* 15 x 17 .*a multiple of 8",
        ),
        (
            lambda: ProbeScan(torch.ones(1, 1, 4, 4), (1, 8, 8), 2),
            ShapeError,
            r"probe must be complex, \(1, 1, n, n\)",
        ),
        (
            lambda: Mixture(PerFamilyNoise(), {"a": SMALL}),
            ConfigError,
            r"Mixture.families.a: Ptychography observes less than Ax",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_real_scan_holds_real_images():
    operator = SMALL.sample(DRAWS, (1, 6, 4))
    assert isinstance(operator, RealImages) and isinstance(operator.operator, ProbeScan)
    assert not operator.complex_images and operator.complex_measurements
