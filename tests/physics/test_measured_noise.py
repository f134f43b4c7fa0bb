"""Noise levels of measurements, against those that were simulated."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import gamma

import unfold
from tests.physics.instances import physics_of
from unfold.config.experiment import build
from unfold.errors import ConfigError, DataError
from unfold.physics.base import Examples
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Mask
from unfold.physics.noise.measured import FLAT, PATCH, MeasuredNoise, estimate_level
from unfold.random import Draws

DATA = os.environ.get("UNFOLD_DATA")
DRAWS = Draws(0, range(2))


def test_the_threshold_is_that_of_the_gamma_distribution():
    rank, trace = PATCH**2 - 1, 4 * PATCH * (PATCH - 1)
    assert pytest.approx(gamma.isf(1e-6, rank / 2, scale=2 * trace / rank), rel=1e-4) == FLAT


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_the_level_of_complex_frequencies_is_found_among_those_acquired(sigma):
    v, u = torch.meshgrid(torch.arange(128.0) - 64, torch.arange(96.0) - 48, indexing="ij")
    x = torch.exp(-((v / 40) ** 4) - (u / 30) ** 4).expand(2, 1, -1, -1)
    physics = physics_of("multicoil_mri", f"physics.noise.sigma={sigma}")
    y, operator = physics.measure(x, DRAWS)
    y = y * operator.mask[:, None]
    assert torch.allclose(estimate_level(y), torch.tensor(sigma), rtol=0.1)


@pytest.mark.skipif(not DATA, reason="UNFOLD_DATA is not set: BSD68 is not here")
@pytest.mark.parametrize(("level", "tol"), [(5, 0.25), (15, 0.1), (25, 0.1), (50, 0.1)])
def test_the_level_of_photographs_is_found(level, tol):
    rng = np.random.default_rng(0)
    found = []
    for path in sorted((Path(str(DATA)) / "gray/BSD68").iterdir())[::8]:
        x = np.array(Image.open(path).convert("L"), float)[:256, :256] / 255
        y = x + level / 255 * rng.standard_normal(x.shape)
        found.append(255 * float(estimate_level(torch.from_numpy(y)[None, None])))
    assert abs(np.mean(found) / level - 1) < tol
    assert max(abs(np.array(found) / level - 1)) < 2 * tol


MASKS = [
    *((f"inpainting physics.keep={keep}", 0.15) for keep in (0.2, 0.5, 0.8)),
    ("box_inpainting", 0.15),
    ("line_inpainting physics.keep=0.5", 0.15),
    ("grid_inpainting physics.factors=[2]", 0.2),  # finer details are not there
]


@pytest.mark.parametrize(("given", "tol"), MASKS)
@pytest.mark.parametrize("sigma", [0.05, 0.1])
def test_missing_pixels_are_not_texture(given, tol, sigma):
    """The noise that is found is that which was added, with it at the missing pixels or zeros."""
    folder = Path(unfold.__path__[0]) / "data/images"
    pictures = [np.array(Image.open(path).convert("L")) for path in sorted(folder.glob("*.png"))]
    x = torch.stack([torch.from_numpy(p[:116, :116] / 255).float()[None] for p in pictures])
    physics = build(*f"physics={given}".split(), f"physics.noise.sigma={sigma}").physics
    y, A = physics.measure(x, Draws(0, range(len(x))))
    assert torch.allclose(estimate_level(y, A).mean(), torch.tensor(sigma), rtol=0.05)
    blank = physics.with_noise(MeasuredNoise()).noise_level(A.A(y), A, Draws(0, range(len(x))))
    assert torch.allclose(blank.mean(), torch.tensor(sigma), rtol=tol)


def test_few_measured_pixels_without_neighbours_tell_no_level():
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 3, 5] = 1
    with pytest.raises(ConfigError, match="1 measured pixels, no neighbours; state the"):
        estimate_level(mask, Mask(mask))


def test_the_level_is_stated_taken_from_the_data_or_not_known():
    y = torch.rand(2, 1, 32, 32)
    levels = torch.tensor([0.1, 0.3])
    examples = Examples(None, y, {"sigma": levels})

    def level(sigma, known=examples):
        physics = Denoising(MeasuredNoise(sigma)).given(known)
        measured, operator = physics.measure(known, DRAWS)
        assert torch.equal(measured, y)
        return physics.noise_level(measured, operator, DRAWS)

    assert torch.allclose(level(0.2), torch.tensor(0.2))
    assert torch.allclose(level("data"), levels)
    assert level(None) is None
    assert torch.allclose(level("estimate"), torch.tensor(1 / math.sqrt(12)), rtol=0.1)
    with pytest.raises(DataError, match=r"sigma = data: the data have none. Set estimate"):
        level("data", Examples(None, y))


def test_nothing_is_simulated_and_bad_words_are_refused():
    with pytest.raises(ConfigError, match="simulates nothing, and the data has images without"):
        Denoising(MeasuredNoise()).measure(torch.rand(2, 1, 8, 8), DRAWS)
    with pytest.raises(ConfigError, match=r"sigma = guess: must be a number, data, estimate or nu"):
        MeasuredNoise("guess")
    with pytest.raises(ConfigError, match=r"shape \(9,\) are neither complex frequencies nor"):
        estimate_level(torch.rand(2, 9))
