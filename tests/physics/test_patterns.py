"""Grids of pixels, orders of patterns, and what physics refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import measure

from tests.physics.instances import physics_of
from unfold.errors import ConfigError, ShapeError
from unfold.physics.inpainting import GridInpainting
from unfold.physics.noise.base import NoNoise
from unfold.physics.sensing.compressed import SinglePixel, Walsh
from unfold.physics.sensing.gaussian import BlockCompressedSensing
from unfold.random import Draws


def draws(count):
    return Draws(seed=0, images=range(count), dtype=torch.float64)


def test_a_grid_sees_every_sth_pixel_and_each_image_its_own():
    law_ = GridInpainting(NoNoise(), (2, 3))
    mask = law_.sample(draws(16), (2, 6, 7)).mask
    seen = {tuple(m.nonzero()[:, 1].unique().tolist()) for m in mask[:, 1]}
    assert seen == {(0, 2, 4, 6), (0, 3, 6)}
    assert torch.equal(mask[:, 0], mask[:, 1])
    assert GridInpainting(NoNoise(), (2, 2)).sample(draws(3), (1, 4, 4)).batch == 1


@pytest.mark.parametrize("factors", [(), (0,), (-1,)])
def test_factors_of_a_grid_are_whole_numbers(factors):
    with pytest.raises(
        ConfigError,
        match=r"GridInpainting.factors = \[.*(must be a whole number|at least one factor)",
    ):
        GridInpainting(NoNoise(), factors)


def test_a_factor_that_leaves_one_pixel_is_refused():
    with pytest.raises(ShapeError, match="3 x 8 pixels is smaller than the factor 4"):
        GridInpainting(NoNoise(), (2, 4)).sample(draws(1), (1, 3, 8))


def test_patterns_come_in_the_order_asked_for():
    """4 of 16, as (p, q) sign changes down and across."""

    def first(ordering):
        kept = SinglePixel(NoNoise(), 0.25, ordering).sample(draws(1), (1, 4, 4)).kept
        return [divmod(k, 4) for k in kept[0].tolist()]

    assert first("sequency") == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert first("square") == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert first("cake_cutting") == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert first("random")[0] == (0, 0)


def test_pieces_of_a_pattern_are_counted():
    """By scikit-image, for every pattern of 8 x 8 pixels."""
    q = Walsh().values(8)
    for i in range(8):
        for j in range(8):
            pattern = (np.outer(q[i], q[j]) > 0).astype(int)
            pieces = measure.label(pattern, connectivity=1, background=-1).max()
            assert pieces == (i + 1) * (j + 1)


def test_blocks_whose_matrix_no_machine_holds_are_refused():
    with pytest.raises(ConfigError, match=r"block = 500: a matrix of 15625000000 entries"):
        BlockCompressedSensing(NoNoise(), 500)


@pytest.mark.parametrize("name", ["mri", "multicoil_mri"])
def test_a_real_image_is_a_complex_one_and_never_the_reverse(name):
    x = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    physics = physics_of(name)
    operator = physics.sample(draws(2), (1, 16, 16))
    assert torch.equal(operator.A(x), operator.A(x + 0j))
    real = replace(physics, real_images=True).sample(draws(2), (1, 16, 16))
    with pytest.raises(ShapeError, match=r"A expects real images, got torch.complex128"):
        real.A(x + 0j)
