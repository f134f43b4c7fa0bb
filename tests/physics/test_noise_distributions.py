"""The other noises: moments of 1e5 draws against their distributions, shapes, messages."""

import numpy as np
import pytest
import scipy.stats
import torch

from tests.physics.test_noise import CLEAN, DRAWS, assert_moments
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.physics.noise.base import Laplace, Noise, Uniform
from unfold.physics.noise.signal_dependent import (
    PoissonGaussian,
    Quantisation,
    Rician,
    SaltAndPepper,
    Speckle,
    Transmission,
)
from unfold.random import Draws

NOISES = [
    Laplace(0.1),
    Laplace((0.0, 0.3)),
    Uniform(0.1),
    SaltAndPepper(0.2),
    SaltAndPepper((0.1, 0.5)),
    PoissonGaussian(30.0, 0.1),
    PoissonGaussian((20.0, 30.0), (0.0, 0.1)),
    Rician(0.1),
    Rician((0.1, 0.2)),
    Speckle(4.0),
    Speckle((2.0, 9.0)),
    Transmission(500.0),
    Transmission((500.0, 900.0), 2.0),
]


@pytest.mark.parametrize(
    ("noise", "mean", "variance", "kurtosis"),
    [
        (Laplace(0.2), 0.3, 0.04, 6.0),
        (Uniform(0.2), 0.3, 0.04, 1.8),
        (PoissonGaussian(50.0, 0.1), 0.3, 0.3 / 50 + 0.01, 3.1),
        (Speckle(4.0), 0.3, 0.09 / 4, 3 + 6 / 4),
        (Transmission(1e6, 2.0), 0.3, np.exp(0.6) / 4e6, 3.0),
        (SaltAndPepper(0.2), 0.8 * 0.3 + 0.1, 0.8 * 0.09 + 0.1 - 0.34**2, 6.0),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Noise) else "",
)
def test_moments(noise: Noise, mean: float, variance: float, kurtosis: float):
    assert_moments(noise.apply(CLEAN, DRAWS), mean, variance, kurtosis)


@pytest.mark.parametrize(
    ("noise", "distribution"),
    [
        (Laplace(0.2), scipy.stats.laplace(0.3, 0.2 / 2**0.5)),
        (Uniform(0.2), scipy.stats.uniform(0.3 - 0.2 * 3**0.5, 0.4 * 3**0.5)),
        (Rician(0.2), scipy.stats.rice(0.3 / 0.2, scale=0.2)),
        (Speckle(4.0), scipy.stats.gamma(4.0, scale=0.3 / 4)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_the_distribution(noise: Noise, distribution: object):
    sample = noise.apply(CLEAN, DRAWS).flatten().numpy()[::5]
    assert scipy.stats.kstest(sample, distribution.cdf).pvalue > 1e-3
    wrong = scipy.stats.kstest(1.02 * sample, distribution.cdf).pvalue
    assert wrong < 0.05 or isinstance(noise, Speckle)


def test_the_magnitude_has_the_moments_of_rice():
    distribution = scipy.stats.rice(0.3 / 0.1, scale=0.1)
    mean, variance, kurtosis = (float(m) for m in distribution.stats("mvk"))
    assert_moments(Rician(0.1).apply(CLEAN, DRAWS), mean, variance, 3 + kurtosis)
    dark = Rician(0.1).apply(torch.zeros_like(CLEAN), DRAWS)
    assert_moments(dark, 0.1 * (np.pi / 2) ** 0.5, (2 - np.pi / 2) * 0.01, 3.25)
    assert torch.equal(Rician(0.0).apply(CLEAN, DRAWS), CLEAN)


def test_complex_additive_noise_is_shared_by_the_parts():
    for noise in (Laplace(0.2), Uniform(0.2)):
        y = noise.apply(CLEAN.to(torch.complex128), DRAWS)
        assert_moments(y.real, 0.3, 0.02, 6.0)
        assert_moments(y.imag, 0.0, 0.02, 6.0)


def test_salt_and_pepper_replaces_the_given_fraction():
    y = SaltAndPepper(0.2).apply(CLEAN, DRAWS)
    for value in (0.0, 1.0):
        share = float((y == value).double().mean())
        assert abs(share - 0.1) < 5 * (0.1 * 0.9 / y.numel()) ** 0.5
    assert bool(((y == 0) | (y == 1) | (y == 0.3)).all())
    assert torch.equal(SaltAndPepper(0.0).apply(CLEAN, DRAWS), CLEAN)


def test_quantisation_is_the_nearest_value():
    v = torch.linspace(-0.2, 1.2, 1001, dtype=torch.float64).reshape(1, 1, 1, -1)
    y = Quantisation(3).apply(v, Draws(0, range(1)))
    grid = np.arange(8) / 7
    nearest = np.abs(grid - v.flatten().numpy()[:, None]).min(1)
    assert np.allclose((y - v).abs().flatten().numpy(), nearest, atol=1e-14)
    assert set(np.round(7 * y.flatten().numpy(), 9)) == set(range(8))
    assert Quantisation(3).with_level(5.0) == Quantisation(5)


def test_the_uniform_noise_is_bounded():
    y = Uniform(0.1).apply(CLEAN, DRAWS)
    assert float((y - CLEAN).abs().max()) <= 0.1 * 3**0.5


@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_the_draws_of_an_image_are_its_own(noise: Noise):
    y = noise.apply(CLEAN, DRAWS)
    assert torch.equal(noise.apply(CLEAN, DRAWS), y)
    assert torch.equal(noise.apply(CLEAN[:2], DRAWS.take([3, 1])), y[[3, 1]])
    assert not torch.equal(y[0], y[1])
    assert noise.apply(CLEAN.float(), DRAWS).dtype == torch.float32
    with pytest.raises(ShapeError, match=r"apply: 3 measurements and draws for 4 images"):
        noise.apply(CLEAN[:3], DRAWS)


def test_levels_are_sampled_per_image():
    many = Draws(seed=0, images=range(200), dtype=torch.float64)
    clean = torch.ones(200, 1, 30, 30, dtype=torch.float64)
    for noise in (Laplace((0.1, 0.5)), Uniform((0.1, 0.5)), Speckle((4.0, 100.0))):
        spread = (noise.apply(clean, many) - clean).flatten(1).std(1)
        assert 0.08 < float(spread.min()) < 0.15 and 0.35 < float(spread.max()) < 0.6


@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_another_level_of_the_same_family(noise: Noise):
    assert noise.with_level(0.5) != noise
    assert type(noise.with_level(0.5)) is type(noise)


COMPLEX = CLEAN[:, :, :2].to(torch.complex128)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Laplace(-0.1), r"^Laplace.sigma = -0.1: must be zero or positive"),
        (lambda: Uniform([0.2, 0.1]), r"^Uniform.sigma = \[0.2, 0.1\]: a range is two numbers"),
        (lambda: SaltAndPepper(1.5), r"^SaltAndPepper.probability = 1.5: must be in \[0, 1\]"),
        (lambda: Quantisation(0), r"^Quantisation.bits = 0: must be a whole number from 1"),
        (lambda: Quantisation(4).with_level(0.5), r"^Quantisation.bits = 0.5: must be a whole"),
        (lambda: PoissonGaussian(0, 0.1), r"^PoissonGaussian.gain = 0: must be positive"),
        (lambda: PoissonGaussian(9, -0.1), r"^PoissonGaussian.sigma = -0.1: must be zero"),
        (lambda: Rician(-1), r"^Rician.sigma = -1: must be zero or positive"),
        (lambda: Speckle(0), r"^Speckle.looks = 0: must be positive"),
        (lambda: Rician(0.1).apply(COMPLEX, DRAWS), r"^Rician: magnitudes are not measured in com"),
        (lambda: Quantisation(2).apply(COMPLEX, DRAWS), r"^Quantisation: there is no range"),
        (lambda: SaltAndPepper(0.1).apply(COMPLEX, DRAWS), r"^SaltAndPepper: there is no range"),
        (lambda: PoissonGaussian(9, 0.1).apply(COMPLEX, DRAWS), r"^PoissonGaussian: photons are"),
    ],
)
def test_bad_levels_say_what_is_wrong(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_negative_intensities_are_refused():
    with pytest.raises(DataError, match=r"Poisson: .* goes down to -0.7"):
        PoissonGaussian(10, 0.1).apply(CLEAN - 1, DRAWS)
