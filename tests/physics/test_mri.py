"""Magnetic resonance: numpy's transform is the reference; masks, coil maps, words."""

import numpy as np
import pytest
import torch

from tests import operator_properties as properties
from unfold.errors import ConfigError, ShapeError
from unfold.physics.mri.cartesian import MRI, Fourier, MultiCoilFourier, MultiCoilMRI, RealFourier
from unfold.physics.mri.sampling import (
    EquispacedColumns,
    PoissonDisc,
    PoissonDiscColumns,
    RandomColumns,
    VariableDensityColumns,
)
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.wrapped import RealImages
from unfold.random import Draws

DRAWS = Draws(seed=2, images=range(3), dtype=torch.float64)
COLUMNS = [RandomColumns, EquispacedColumns, PoissonDiscColumns, VariableDensityColumns]
every_mask = pytest.mark.parametrize("columns", COLUMNS)


def weights(*shape: int) -> torch.Tensor:
    m = torch.rand(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return torch.where(m < 0.3, 0, m)


OPERATORS = {
    "fourier": (Fourier(weights(3, 1, 1, 8), (2, 5, 8)), torch.complex128),
    "fourier, whole mask": (Fourier(weights(1, 1, 6, 5), (1, 6, 5)), torch.complex128),
    "real fourier": (RealFourier(weights(3, 1, 1, 8), (2, 5, 8)), torch.float64),
    "real fourier, odd": (RealFourier(weights(1, 1, 6, 5), (1, 6, 5)), torch.float64),
    "coils": (
        MultiCoilMRI(NoNoise(), RandomColumns(2.0, 0.2), coils=2).complex_operator(
            DRAWS, (1, 5, 6)
        ),
        torch.complex128,
    ),
    "real coils": (
        MultiCoilMRI(NoNoise(), RandomColumns(2.0, 0.2), coils=3, real_images=True).sample(
            DRAWS, (2, 4, 6)
        ),
        torch.float64,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_property(name: str):
    operator, dtype = OPERATORS[name]
    properties.assert_properties(operator, dtype=dtype)


@every_mask
def test_one_coil_is_numpys_transform(columns: type):
    x = DRAWS.uniform("images", (2, 6, 9))
    physics = MRI(NoNoise(), columns(2.0, 0.2), real_images=True)
    operator = physics.sample(DRAWS, (2, 6, 9))
    mask = operator.mask.numpy()
    want = np.fft.fft2(x.numpy(), norm="ortho") * mask
    assert properties.gap(operator.A(x), torch.from_numpy(want)) < 1e-14
    back = np.fft.ifft2(want * mask, norm="ortho").real
    assert properties.gap(operator.A_adjoint(operator.A(x)), torch.from_numpy(back)) < 1e-14


def test_several_coils_are_numpys_transforms():
    physics = MultiCoilMRI(NoNoise(), RandomColumns(2.0, 0.2), coils=3, real_images=True)
    operator = physics.sample(DRAWS, (1, 6, 9))
    inner = operator.operator
    x = DRAWS.uniform("images", (1, 6, 9))
    y = operator.A(x)
    assert y.shape == (3, 1, 3, 6, 9) and physics.image_shape(y.shape[1:]) == (1, 6, 9)
    for i in range(3):
        for j in range(3):
            seen = inner.maps[i, j].numpy() * x[i, 0].numpy()
            want = inner.mask[i, 0].numpy() * np.fft.fft2(seen, norm="ortho")
            assert np.abs(y[i, 0, j].numpy() - want).max() < 1e-13
    assert isinstance(physics.complex_operator(DRAWS, (1, 6, 9)), MultiCoilFourier)


def test_the_sensitivities_are_normalised_smooth_and_differ():
    maps = (
        MultiCoilMRI(NoNoise(), RandomColumns(), coils=5).complex_operator(DRAWS, (1, 48, 40)).maps
    )
    assert properties.gap(maps.abs().square().sum(1), torch.ones(3, 48, 40).double()) < 1e-12
    assert float(maps.diff(dim=-1).abs().max()) < 0.15
    assert float((maps[0] - maps[1]).abs().max()) > 0.1
    assert float((maps[0, 0].abs() - maps[0, 1].abs()).abs().max()) > 0.1


def test_everything_acquired_is_unitary():
    operator = MRI(NoNoise(), RandomColumns(1.0, 0.5), real_images=True).sample(DRAWS, (1, 5, 7))
    x = DRAWS.uniform("images", (1, 5, 7))
    assert operator.batch == 1
    assert properties.gap(operator.A_adjoint(operator.A(x)), x) < 1e-14
    sense = MultiCoilMRI(NoNoise(), RandomColumns(1.0, 0.5), real_images=True).sample(
        DRAWS, (1, 5, 7)
    )
    assert isinstance(sense, RealImages)
    assert properties.gap(sense.A_adjoint(sense.A(x)), x) < 1e-14


@every_mask
@pytest.mark.parametrize("acceleration", [1.0, 2.0, 4.0, 8.0])
def test_the_count_and_the_centre_of_the_columns(columns: type, acceleration: float):
    width, centre = 96, 0.08
    mask = columns(acceleration, centre).sample(DRAWS, 8, width)[:, 0, 0]
    assert torch.equal(mask.sum(1), torch.full_like(mask[:, 0], round(width / acceleration)))
    inner = round(centre * width)
    nearest = np.argsort(np.abs(np.fft.fftfreq(width)), kind="stable")[:inner]
    assert bool((mask[:, nearest] == 1).all())
    assert bool(((mask == 0) | (mask == 1)).all())


def test_equispaced_columns_are_evenly_spaced():
    mask = EquispacedColumns(4.0, 0.02).sample(DRAWS, 8, 200)[:, 0, 0]
    for row in mask.numpy():
        gaps = np.diff(np.flatnonzero(np.fft.fftshift(row)))
        assert sorted(gaps)[5] >= 4 and max(gaps) <= 8


@pytest.mark.parametrize(("acceleration", "distance"), [(2.5, 2), (4.0, 3), (8.0, 6)])
def test_columns_that_keep_their_distance(acceleration: float, distance: int):
    """73, 43 or 18 of 193 outer columns: at most 2, 4 or 11 apart."""
    mask = PoissonDiscColumns(acceleration, 0.035).sample(DRAWS, 8, 200)[:, 0, 0]
    outer = np.sort(np.argsort(np.abs(np.fft.fftfreq(200)), kind="stable")[7:])
    for row in mask.numpy():
        gaps = np.diff(np.flatnonzero(row[outer]))
        assert gaps.min() >= distance and len(gaps) == round(200 / acceleration) - 8
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize("shape", [(20, 24), (1, 30), (7, 1), (1, 1)])
def test_points_that_keep_their_distance(shape: tuple[int, int]):
    """None is nearer than the r of the nearer one of its two ends, r being what r₀ came to."""
    sampling = PoissonDisc(5.0, 0.1, 2.0)
    mask = sampling.sample(DRAWS, *shape)
    assert mask.shape == (3, 1, *shape)
    assert torch.equal(mask.sum((1, 2, 3)), torch.full((3,), max(1, round(np.prod(shape) / 5))))
    assert bool((mask[..., 0, 0] == 1).all())
    if shape != (20, 24):
        return
    assert not torch.equal(mask[0], mask[1])
    for one in np.fft.fftshift(mask[:, 0].numpy(), axes=(1, 2)):
        v, u = np.nonzero(one)
        k = np.hypot((v - 10) / 10, (u - 12) / 12) / 2**0.5
        outside = (np.abs(v - 10) > 1.5) | (np.abs(u - 12) > 1.5)
        v, u, growth = v[outside], u[outside], 1 + 2 * k[outside]
        apart = np.hypot(np.subtract.outer(v, v), np.subtract.outer(u, u))
        ratio = apart / np.minimum.outer(growth, growth) + 1e9 * np.eye(len(v))
        # 89 points of random places come as near as 1 / 2.9; these keep more than twice that.
        assert ratio.min() > 0.75


def test_no_two_points_are_neighbours_while_that_can_be():
    mask = PoissonDisc(9.0, 0.05, 0.0).sample(DRAWS, 30, 30)[:, 0]
    for one in np.fft.fftshift(mask.numpy(), axes=(1, 2)):
        one[14:17, 14:17] = 0
        assert (one * np.roll(one, 1, 0))[1:].sum() == (one * np.roll(one, 1, 1))[:, 1:].sum() == 0


def test_points_are_dense_near_the_centre():
    far = np.hypot(*np.meshgrid(*[np.fft.fftfreq(32)] * 2)) > 0.35
    means = [
        float(PoissonDisc(6.0, 0.05, slope).sample(DRAWS, 32, 32)[:, 0, far].mean())
        for slope in (0.0, 3.0)
    ]
    assert abs(means[0] - 1 / 6) < 0.03 and means[1] < 0.7 * means[0]


def test_dense_columns_lie_near_the_centre():
    far = np.abs(np.fft.fftfreq(200)) > 0.25
    many = Draws(seed=0, images=range(40))
    outer = [
        float(columns.sample(many, 8, 200)[:, 0, 0][:, far].mean())
        for columns in (VariableDensityColumns(4.0, 0.04, 4.0), RandomColumns(4.0, 0.04))
    ]
    assert outer[0] < 0.5 * outer[1]
    assert abs(outer[1] - (50 - 8) / 192) < 0.03


def test_an_acceleration_may_be_sampled():
    mask = RandomColumns((2.0, 8.0)).sample(Draws(seed=0, images=range(50)), 8, 200)
    counts = mask.sum((1, 2, 3))
    assert 25 <= float(counts.min()) < 35 and 70 < float(counts.max()) <= 100


def test_the_noise_is_complex():
    physics = MRI(Gaussian(0.1), RandomColumns(1.0))
    x = torch.zeros(3, 1, 200, 200, dtype=torch.float64)
    y = physics.measure(x, DRAWS).y
    assert abs(float(y.real.var()) - 0.005) < 2e-4 and abs(float(y.imag.var()) - 0.005) < 2e-4


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RandomColumns(0), ConfigError, r"RandomColumns.acceleration = 0: must be at le"),
        (lambda: RandomColumns(4.0, 0.5), ConfigError, r"centre = 0.5: must be in \(0, 0.25\]"),
        (lambda: RandomColumns(4.0, 0.0), ConfigError, r"RandomColumns.centre = 0.0"),
        (
            lambda: PoissonDisc(0.5),
            ConfigError,
            r"PoissonDisc.acceleration = 0.5: must be at least 1",
        ),
        (lambda: PoissonDisc(4.0, 0.6), ConfigError, r"PoissonDisc.centre = 0.6: .* \(0, 0.5\]"),
        (lambda: PoissonDisc(slope=-1.0), ConfigError, r"PoissonDisc.slope = -1.0: must be zero"),
        (lambda: VariableDensityColumns(power=-1.0), ConfigError, r"power = -1.0: must be zero or"),
        (lambda: MultiCoilMRI(NoNoise(), RandomColumns(), 0), ConfigError, r"coils = 0: must be"),
        (
            lambda: MultiCoilMRI(NoNoise(), RandomColumns(), 2, 0.0),
            ConfigError,
            r"MultiCoilMRI.width = 0.0: must be positive",
        ),
        (
            lambda: Fourier(torch.ones(1, 1, 1, 7), (1, 8, 8)),
            ShapeError,
            r"Fourier.mask must be real, \(batch or 1, 1, 8 or 1, 8 or 1\), got \(1, 1, 1, 7\)",
        ),
        (
            lambda: MultiCoilFourier(
                torch.ones(1, 1, 1, 8), torch.ones(1, 2, 8, 7) + 0j, (1, 8, 8)
            ),
            ShapeError,
            r"MultiCoilFourier.maps must be complex, \(batch or 1, coils, 8, 8\), got \(1, 2, 8, 7",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
