"""Masks as the literature draws them, against their rules written out column by column."""

import numpy as np
import pytest
import torch

from unfold.errors import ConfigError
from unfold.physics.mri.fastmri import FastMRIEquispaced, FastMRIRandom
from unfold.physics.mri.sampling import RadialPoints
from unfold.random import Draws

SETTINGS = [(368, 4, 0.08), (372, 8, 0.04), (320, 4, 0.08), (45, 3, 0.1), (96, 6, 1 / 6)]
sizes = pytest.mark.parametrize(("width", "acceleration", "fraction"), SETTINGS)
MANY = Draws(seed=1, images=range(200))


def centre(width: int, fraction: float) -> list[int]:
    """The full columns, frequency 0 in the middle."""
    count = round(width * fraction)
    first = (width - count + 1) // 2
    return list(range(first, first + count))


def equispaced(width: int, acceleration: int, fraction: float, adjusted: bool) -> dict[int, list]:
    """The columns of each offset."""
    full = centre(width, fraction)
    n, found = len(full), {}
    if adjusted and n * acceleration == width:
        return {0: full}
    step = acceleration * (n - width) / (n * acceleration - width) if adjusted else acceleration
    for offset in range(round(step)):
        columns, place = set(full), 0
        while (at := offset + place * step) < (width - 1 if adjusted else width):
            columns.add(int(np.rint(at)))
            place += 1
        found[offset] = sorted(columns)
    return found


def columns_of(masks: torch.Tensor) -> list[list[int]]:
    shifted = np.fft.fftshift(masks[:, 0, 0].numpy(), axes=-1)
    return [np.flatnonzero(row).tolist() for row in shifted]


@sizes
@pytest.mark.parametrize("adjusted", [True, False])
def test_equispaced_columns_are_those_of_some_offset_and_every_offset_comes(
    width, acceleration, fraction, adjusted
):
    drawn = columns_of(FastMRIEquispaced(acceleration, fraction, adjusted).sample(MANY, 8, width))
    want = list(equispaced(width, acceleration, fraction, adjusted).values())
    assert all(columns in want for columns in drawn)
    assert all(columns in drawn for columns in want)


def test_the_numbers_of_a_known_width():
    """368 columns, fourfold, 8 %: 29 in the middle, 5.38 apart, 91 or 92 = 368 / 4 in all."""
    want = equispaced(368, 4, 0.08, True)
    assert centre(368, 0.08)[0] == 170 and len(want) == 5
    counts = {len(columns) for columns in columns_of(FastMRIEquispaced().sample(MANY, 8, 368))}
    assert counts <= {91, 92, 93}


@sizes
def test_random_columns_come_with_the_probability_that_gives_the_acceleration(
    width, acceleration, fraction
):
    many = Draws(seed=3, images=range(1500))
    masks = FastMRIRandom(acceleration, fraction).sample(many, 8, width)[:, 0, 0].double()
    share = np.fft.fftshift(masks.mean(0).numpy())
    full = centre(width, fraction)
    outer = np.delete(share, full)
    p = (width / acceleration - len(full)) / (width - len(full))
    assert (share[full] == 1).all()
    assert np.abs(outer - p).max() < 5 * np.sqrt(max(p * (1 - p), 1e-12) / 1500) + 1e-12
    assert abs(float(masks.sum(1).mean()) - width / acceleration) < 0.5
    if p > 0:  # columns are drawn on their own: their number varies as that of a binomial
        assert float(masks.sum(1).var()) == pytest.approx(len(outer) * p * (1 - p), rel=0.2)


@pytest.mark.parametrize("mask", [FastMRIRandom, FastMRIEquispaced, RadialPoints])
def test_no_acceleration_acquires_everything(mask: type):
    found = mask(1.0, 0.1).sample(Draws(seed=0, images=range(3)), 9, 14)
    assert len(found) == 1 and bool((found == 1).all())


@pytest.mark.parametrize("shape", [(40, 32), (31, 45), (1, 12)])
def test_radial_points_are_the_nearest_to_lines_through_frequency_0(shape: tuple[int, int]):
    drawn = RadialPoints(4.0, 0.01).sample(Draws(seed=2, images=range(3)), *shape)[:, 0].numpy()
    assert (drawn.sum((1, 2)) == round(shape[0] * shape[1] / 4)).all()
    for one in np.fft.fftshift(drawn, axes=(1, 2)):
        v, u = (i - n // 2 for i, n in zip(np.nonzero(one), shape, strict=True))
        angles = np.arange(0, np.pi, 1e-4)
        off = np.abs(np.outer(u, np.sin(angles)) - np.outer(v, np.cos(angles))) < 0.75
        lines = 0
        while off.any() and lines < 60:  # lines that explain points, the best first
            best = off.sum(0).argmax()
            off = off[~off[:, best]]
            lines += 1
        assert lines <= 14
    if shape[0] > 1:
        assert not np.array_equal(drawn[0], drawn[1])


def test_a_centre_larger_than_all_columns_is_refused():
    with pytest.raises(ConfigError, match=r"FastMRIEquispaced.centre = 0.5: must be in \(0, 0.25"):
        FastMRIEquispaced(4.0, 0.5)
