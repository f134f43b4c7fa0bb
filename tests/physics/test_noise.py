"""Noise: its first two moments on 1e5 draws, its draws, its exact cases, its words."""

import pytest
import torch
from torch import Tensor

from tests.operator_properties import gap
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.signal_dependent import Poisson
from unfold.random import Draws

DRAWS = Draws(seed=3, images=range(4), dtype=torch.float64)
CLEAN = torch.full((4, 1, 250, 100), 0.3, dtype=torch.float64)


def assert_moments(sample: Tensor, mean: float, variance: float, kurtosis: float = 3.0):
    """Within 5 standard errors; the kurtosis gives that of the variance."""
    n = sample.numel()
    assert n >= 100_000
    assert abs(float(sample.mean()) - mean) < 5 * (variance / n) ** 0.5
    assert abs(float(sample.var()) - variance) < 5 * variance * ((kurtosis - 1) / n) ** 0.5


def test_gaussian_moments():
    assert_moments(Gaussian(0.2).apply(CLEAN, DRAWS), 0.3, 0.04)


def test_complex_noise_is_shared_by_the_parts():
    y = Gaussian(0.2).apply(CLEAN.to(torch.complex128), DRAWS)
    assert y.dtype == torch.complex128
    assert_moments(y.real, 0.3, 0.02)
    assert_moments(y.imag, 0.0, 0.02)
    assert abs(float(((y.real - 0.3) * y.imag).mean())) < 5 * 0.02 / 100_000**0.5


@pytest.mark.parametrize("gain", [5.0, 200.0])
def test_poisson_moments(gain: float):
    y = Poisson(gain).apply(CLEAN, DRAWS)
    assert_moments(y, 0.3, 0.3 / gain, 3 + 1 / (0.3 * gain))
    assert gap((y * gain).round(), y * gain) < 1e-12


def test_ranges_are_uniform_over_the_images():
    many = Draws(seed=0, images=range(400), dtype=torch.float64)
    clean = torch.ones(400, 1, 40, 40, dtype=torch.float64)
    sigma = (Gaussian((0.1, 0.5)).apply(clean, many) - clean).flatten(1).std(1)
    assert 0.09 < float(sigma.min()) < 0.13 and 0.47 < float(sigma.max()) < 0.54
    assert abs(float(sigma.mean()) - 0.3) < 5 * 0.4 / 12**0.5 / 20
    variance = Poisson((10, 20)).apply(clean, many).flatten(1).var(1)
    assert float(variance.min()) > 0.04 and float(variance.max()) < 0.12


@pytest.mark.parametrize(
    "noise", [Gaussian(0.1), Gaussian((0.0, 0.3)), Poisson(9), Poisson([5, 9])]
)
def test_the_draws_of_an_image_are_its_own(noise: Gaussian | Poisson):
    y = noise.apply(CLEAN, DRAWS)
    assert torch.equal(noise.apply(CLEAN, DRAWS), y)
    assert torch.equal(noise.apply(CLEAN[:2], DRAWS.take([3, 1])), y[[3, 1]])
    assert not torch.equal(y[0], y[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_the_kind_is_that_of_the_clean_measurement(dtype: torch.dtype):
    clean = torch.rand(4, 7, dtype=torch.float64).to(dtype)
    before = clean.clone()
    for noise in (Gaussian(0.1), Gaussian((0.1, 0.2)), NoNoise()):
        assert noise.apply(clean, DRAWS).dtype == dtype
    if not dtype.is_complex:
        assert Poisson(10).apply(clean, DRAWS).dtype == dtype
    assert torch.equal(clean, before)


def test_no_noise_is_exact():
    assert torch.equal(Gaussian(0).apply(CLEAN, DRAWS), CLEAN)
    assert torch.equal(Gaussian((0, 0)).apply(CLEAN, DRAWS), CLEAN)
    assert torch.equal(NoNoise().apply(CLEAN, DRAWS), CLEAN)
    dark = torch.zeros(4, 5)
    assert torch.equal(Poisson(10).apply(dark, DRAWS), dark)
    assert torch.equal(Poisson(10).apply(dark - 1e-8, DRAWS), dark)


def test_another_level():
    assert Gaussian(0.1).with_level(0.3) == Gaussian(0.3)
    assert Poisson(1.0).with_level([2, 5]) == Poisson((2.0, 5.0))
    with pytest.raises(
        ConfigError, match=r"NoNoise has no level to set to 0.1; use Gaussian or Poisson"
    ):
        NoNoise().with_level(0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Gaussian(-0.1),
            r"^Gaussian.sigma = -0.1: must be zero or positive, in units of an image",
        ),
        (lambda: Gaussian(float("nan")), r"^Gaussian.sigma = nan: must be zero or positive"),
        (lambda: Gaussian(float("inf")), r"^Gaussian.sigma = inf: "),
        (lambda: Gaussian((0.2, 0.1)), r"^Gaussian.sigma = \[0.2, 0.1\]: a range is two numbers"),
        (lambda: Gaussian([0.1, 0.2, 0.3]), r"^Gaussian.sigma = \[0.1, 0.2, 0.3\]: a range is two"),
        (lambda: Gaussian([]), r"^Gaussian.sigma = \[\]: a range is two"),
        (lambda: Poisson(0), r"^Poisson.gain = 0: must be positive, in photons"),
        (lambda: Poisson((-1, 2)), r"^Poisson.gain = \[-1, 2\]: must be positive"),
        (
            lambda: Poisson(1).apply(CLEAN.to(torch.complex64), DRAWS),
            "photons are not counted in complex",
        ),
    ],
)
def test_bad_levels_say_what_is_wrong(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_negative_intensities_are_refused():
    with pytest.raises(DataError, match=r"Poisson: .* goes down to -0.7; intensities must be"):
        Poisson(10).apply(CLEAN - 1, DRAWS)


def test_one_draw_per_image():
    with pytest.raises(ShapeError, match=r"Gaussian.apply: 3 measurements and draws for 4 images"):
        Gaussian(0.1).apply(CLEAN[:3], DRAWS)
