"""Magnetic resonance off the grid: sums in NumPy are the reference; skipped without finufft."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import operator_properties as properties
from tests.config.folder import refusal
from unfold.errors import ConfigError, ShapeError
from unfold.physics.mri.cartesian import MultiCoilMRI
from unfold.physics.mri.non_cartesian import (
    MultiCoilNonCartesian,
    MultiCoilNonCartesianMRI,
    NonCartesian,
    NonCartesianMRI,
    to_grid,
    to_points,
)
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.mri.trajectories import GoldenAngleSpokes, Spiral, UniformSpokes
from unfold.physics.noise.base import NoNoise
from unfold.physics.wrapped import RealImages
from unfold.random import Draws

HERE = importlib.util.find_spec("finufft") is not None
needed = pytest.mark.skipif(not HERE, reason="finufft is not installed")
lacking = pytest.mark.skipif(HERE, reason="finufft is installed")
DRAWS = Draws(seed=3, images=range(2), dtype=torch.float64)


def points(count: int, batch: int = 2) -> Tensor:
    return DRAWS.take(range(batch)).uniform("points", (count, 2), -0.5, 0.5)


def complex_images(*shape: int) -> Tensor:
    return torch.complex(DRAWS.normal("re", shape), DRAWS.normal("im", shape))


def maps(coils: int, *shape: int) -> Tensor:
    physics = MultiCoilMRI(NoNoise(), RandomColumns(2.0, 0.2), coils=coils)
    return physics.complex_operator(DRAWS, shape).maps


OPERATORS = {
    "complex": (NonCartesian(points(20), (1, 3, 4)), torch.complex128),
    "shared points, channels": (NonCartesian(points(12, 1), (2, 3, 2)), torch.complex128),
    "coils": (MultiCoilNonCartesian(points(9), maps(2, 1, 3, 4), (1, 3, 4)), torch.complex128),
    "real": (RealImages(NonCartesian(points(9), (1, 3, 4))), torch.float64),
}


@needed
@pytest.mark.parametrize("name", OPERATORS)
def test_every_matrix_property(name: str):
    operator, dtype = OPERATORS[name]
    properties.assert_matrix_properties(operator, dtype=dtype)


@needed
def test_the_pseudo_inverse():
    operator, dtype = OPERATORS["shared points, channels"]
    for check in (
        properties.assert_penrose,
        properties.assert_pseudo_inverse,
        properties.assert_batch_invariant,
    ):
        check(operator, dtype=dtype)


@needed
@pytest.mark.parametrize("size", [(5, 6), (8, 7), (1, 9), (1, 1)])
def test_it_is_the_sum_over_the_pixels(size: tuple[int, int]):
    k, x = points(12), complex_images(1, *size)
    n = np.stack(np.meshgrid(*(np.arange(s) - s // 2 for s in size), indexing="ij"), -1)
    matrix = np.exp(-2j * np.pi * np.einsum("bmd,hwd->bmhw", k.numpy(), n)) / math.sqrt(n.size / 2)
    want = np.einsum("bmhw,bchw->bcm", matrix, x.numpy())
    operator = NonCartesian(k, (1, *size))
    assert properties.gap(operator.A(x), torch.from_numpy(want)) < 1e-13
    back = np.einsum("bmhw,bcm->bchw", matrix.conj(), want)
    assert (
        properties.gap(operator.A_adjoint(torch.from_numpy(want)), torch.from_numpy(back)) < 1e-13
    )
    single = operator.to_like(x.to(torch.complex64)).A(x.to(torch.complex64))
    assert properties.gap(single.to(torch.complex128), torch.from_numpy(want)) < 1e-5


@needed
def test_on_the_grid_it_is_the_fast_fourier_transform():
    x = complex_images(1, 4, 6)
    k = torch.cartesian_prod(torch.fft.fftfreq(4), torch.fft.fftfreq(6)).double()[None]
    centred = torch.fft.ifftshift(x, dim=(-2, -1))
    assert (
        properties.gap(
            NonCartesian(k, (1, 4, 6)).A(x), torch.fft.fft2(centred, norm="ortho").flatten(2)
        )
        < 1e-7
    )  # fftfreq in single precision


@needed
def test_images_and_points_have_gradients_of_both_orders():
    k = points(4).requires_grad_()
    x, y = complex_images(1, 3, 4).requires_grad_(), complex_images(1, 4).requires_grad_()
    for f, t in ((to_points, x), (lambda y, k: to_grid(y, k, (3, 4)), y)):
        assert torch.autograd.gradcheck(f, (t, k), fast_mode=True)
        assert torch.autograd.gradgradcheck(f, (t, k), fast_mode=True)
    shared = points(4, 1).requires_grad_()
    assert torch.autograd.gradcheck(to_points, (x, shared), fast_mode=True)


@needed
@pytest.mark.parametrize("trajectory", [GoldenAngleSpokes(80, 2.0), Spiral(12, 3.0, 3.0)])
def test_gridding_is_near_the_image_where_the_disc_is_full(trajectory):
    v, u = torch.meshgrid(torch.linspace(-3, 3, 24), torch.linspace(-3, 3, 24), indexing="ij")
    x = torch.exp(-((u - 0.5) ** 2) - (v + 0.4) ** 2 / 2).double().expand(2, 1, -1, -1)
    both = (
        NonCartesianMRI(NoNoise(), trajectory),
        MultiCoilNonCartesianMRI(NoNoise(), trajectory, coils=3),
    )
    for physics in both:
        y, operator = physics.measure(x, DRAWS)
        assert operator.linear_baseline(y).method == "gridding"
        assert properties.gap(operator.linear_baseline(y).image, x) < 0.05


@needed
def test_what_an_image_gets_is_its_own():
    physics = MultiCoilNonCartesianMRI(NoNoise(), UniformSpokes(3, 1.5), coils=2)
    draws = Draws(seed=1, images=range(3), dtype=torch.float64)
    x = draws.uniform("x", (1, 6, 5))
    y, operator = physics.measure(x, draws)
    assert y.shape == (3, 1, 2, 27) and operator.measurement_shape == (1, 2, 27)
    some, _ = physics.measure(x[[2, 0]], draws.take([2, 0]))
    assert torch.equal(some, y[[2, 0]])
    assert properties.gap(y[:1], y[1:2]) > 0.01
    complex_y = physics.complex_operator(draws.within("operator"), (1, 6, 5)).A(x + 0j)
    assert torch.equal(complex_y, y)


def directions(k: Tensor) -> Tensor:
    """The angle of the last point of every spoke of 4, and of arm."""
    last = k[0].reshape(-1, 4, 2)[:, -1]
    return torch.atan2(last[:, 0], last[:, 1])


def turned(step: Tensor, by: float) -> float:
    """How far steps are from an angle, whole turns apart."""
    return float(torch.exp(1j * (step - by)).sub(1).abs().max())


def test_spokes_turn_by_the_golden_angle_or_evenly():
    golden = GoldenAngleSpokes(5, 1.0).sample(DRAWS, 4, 3)
    assert golden.shape == (2, 20, 2) and float(golden.norm(dim=-1).max()) <= 0.5 + 1e-12
    assert turned(directions(golden).diff(), math.radians(111.246117975)) < 1e-9
    even = UniformSpokes(6, 1.0).sample(DRAWS, 4, 3)
    assert turned(directions(even).diff(), math.radians(30)) < 1e-9
    assert torch.allclose(even[0, :4].norm(dim=-1), torch.tensor([0.5, 0.25, 0.0, 0.25]).double())
    assert turned(directions(even[:1]) - directions(even[1:]), 0.0) > 1e-3


def test_a_spiral_winds_outwards():
    k = Spiral(3, 0.25, 1.0).sample(DRAWS, 5, 5)
    assert k.shape == (2, 12, 2)  # round(π · 0.25 · 5) points of an arm
    t = torch.arange(4, dtype=torch.float64) / 4
    assert torch.allclose(k[0, :4].norm(dim=-1), t / 2)
    assert turned(directions(k).diff(), 2 * math.pi / 3) < 1e-9
    arm = torch.atan2(k[0, 1:4, 0], k[0, 1:4, 1])
    assert turned(arm.diff(), 2 * math.pi * 0.25 / 4) < 1e-9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: UniformSpokes(0), r"UniformSpokes.spokes = 0: must be a whole number of at least"),
        (lambda: GoldenAngleSpokes(3, 0.0), r"GoldenAngleSpokes.oversampling = 0.0: must be posit"),
        (lambda: Spiral(-1), r"Spiral.arms = -1: must be a whole number"),
        (lambda: Spiral(2, -1.0), r"Spiral.turns = -1.0: must be positive"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, words: str):
    with pytest.raises(ConfigError, match=words):
        make()


def test_points_and_maps_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"NonCartesian.points must be real, \(batch or 1, points"):
        NonCartesian(torch.zeros(4, 2), (1, 5, 5))
    with pytest.raises(ShapeError, match=r"MultiCoilNonCartesian.maps must be complex"):
        MultiCoilNonCartesian(points(4), torch.zeros(2, 3, 5, 5), (1, 5, 5))


@lacking
@pytest.mark.parametrize("name", ["radial_mri", "spiral_mri", "multicoil_radial_mri"])
def test_what_is_missing_is_said_with_the_remedy(name: str):
    assert (
        "needs the package 'finufft', which is not installed: pip install -e '.[nufft]' torch=="
        in refusal(f"physics={name}")
    )
