"""Tomography: scikit-image, analytic projections and dense matrices are the references."""

import dataclasses

import numpy as np
import pytest
import torch
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, radon, resize

from tests import operator_properties as properties
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.initialization import FilteredBackProjection
from unfold.physics.ct.projector import Fan, Parallel, Projector
from unfold.physics.ct.tomography import FanBeamTomography, Tomography
from unfold.physics.denoising import Identity
from unfold.physics.mixture import Mixture, PerFamilyNoise
from unfold.physics.noise.base import NoNoise
from unfold.physics.operator import Operator
from unfold.physics.sparse import Entries, multiply, stacked
from unfold.random import Draws
from unfold.training.losses import MaskedMeasurement

DRAWS = Draws(seed=2, images=range(3), dtype=torch.float64)
SIDE = 65
ANGLES = tuple(np.arange(0, 180, 2.0).tolist())
OPERATORS: dict[str, Operator] = {
    "parallel": Projector(Parallel((0.0, 30.0, 45.0, 90.0, 133.0), 7), (1, 4, 5), 0.5),
    "parallel channels": Projector(Parallel((10.0, 80.0), 9), (2, 5, 3)),
    "one row": Projector(Parallel((0.0, 60.0), 8), (1, 1, 7)),
    "fan": Projector(Fan((0.0, 100.0, 230.0), 6, 1.5, 12.0, 6.0), (1, 4, 5)),
}
IMAGE = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def discs(side: int, blur: float) -> np.ndarray:
    """Two discs with soft edges, well inside the circle that the detectors see."""
    row, column = np.mgrid[:side, :side] - side // 2
    edge = [
        (r - np.hypot(column - x, row - y)) / blur
        for x, y, r in ((4, -6, 0.3 * side), (-8, 9, 0.1 * side))
    ]
    return sum(0.5 * (1 + np.tanh(e)) for e in edge)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_every_property(name: str, dtype: torch.dtype):
    operator = OPERATORS[name]
    properties.assert_matrix_properties(operator, dtype=dtype)


def test_projections_agree_with_scikit_image():
    row, column = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    x = discs(SIDE, 1.0) * (np.hypot(row, column) < SIDE // 2)
    want = radon(x, ANGLES, circle=True).T
    operator = Projector(Parallel(ANGLES, SIDE), (1, SIDE, SIDE))
    got = operator.A(torch.from_numpy(x)[None, None])[0, 0].numpy()
    assert np.linalg.norm(got - want) < 0.005 * np.linalg.norm(want)


def test_filtered_back_projection_is_that_of_scikit_image_on_a_sharp_phantom():
    """With an odd side: of an even one, scikit-image puts the axis half a pixel off the centre."""
    x = resize(shepp_logan_phantom(), (SIDE, SIDE), order=0, anti_aliasing=False)
    row, column = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    inside = np.hypot(row, column) < SIDE // 2 - 1
    y = radon(x * inside, ANGLES, circle=True)
    want = iradon(y, ANGLES, circle=True)
    operator = Projector(Parallel(ANGLES, SIDE), (1, SIDE, SIDE), pixel=0.3)
    got = operator.filtered_back_projection(0.3 * torch.from_numpy(y.T)[None, None])[0, 0].numpy()
    assert np.linalg.norm((got - want)[inside]) < 1e-3 * np.linalg.norm(want[inside])


@pytest.mark.parametrize(("fan", "pixel"), [(False, 0.3), (True, 0.4)])
def test_filtered_back_projection_is_near_the_image(fan: bool, pixel: float):
    x = torch.from_numpy(discs(SIDE, 2.0))[None, None]
    turn = tuple(np.arange(0, 360, 2.0).tolist())
    geometry = Fan(turn, 101, 1.5, 90.0, 70.0) if fan else Parallel(ANGLES, SIDE)
    operator = Projector(geometry, (1, SIDE, SIDE), pixel)
    got = operator.filtered_back_projection(operator.A(x))
    row, column = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    inside = torch.from_numpy(np.hypot(row, column) < SIDE // 2 - 1)
    assert properties.gap((got * inside), x * inside) < 0.02


@pytest.mark.parametrize("rounds", [2, 3])
def test_filtered_back_projection_counts_no_line_twice(rounds: int):
    """Over several half turns the image is that of one half turn."""
    angles = tuple(np.arange(0, 180 * rounds, 2.0).tolist())
    once, more = (Projector(Parallel(a, SIDE), (1, SIDE, SIDE), 0.3) for a in (ANGLES, angles))
    x = torch.from_numpy(discs(SIDE, 2.0))[None, None]
    want = once.filtered_back_projection(once.A(x))
    assert properties.gap(more.filtered_back_projection(more.A(x)), want) < 1e-12
    assert more.linear_baseline(more.A(x)).method == "filtered_back_projection"


def test_parallel_rays_over_part_of_a_second_half_turn_are_not_filtered():
    angles = tuple(np.arange(0, 300, 20.0).tolist())
    operator = Projector(Parallel(angles, 9), (1, 5, 5))
    y = operator.A(DRAWS.take([0]).uniform("x", (1, 5, 5)))
    with pytest.raises(ConfigError, match=r"at most half a turn, or a multiple .* got 300 degrees"):
        operator.filtered_back_projection(y)
    assert operator.linear_baseline(y).method == "pseudo_inverse"


def test_filtered_back_projection_is_differentiable_and_takes_complex_readings():
    for operator in (OPERATORS["parallel"], whole_fan()):
        y = DRAWS.take([0]).normal("y", operator.measurement_shape).requires_grad_()
        assert torch.autograd.gradcheck(operator.filtered_back_projection, [y], fast_mode=True)
        both = operator.filtered_back_projection(torch.complex(y, 2 * y))
        assert properties.gap(both.imag, 2 * operator.filtered_back_projection(y)) < 1e-12


def whole_fan() -> Projector:
    return Projector(Fan((0.0, 90.0, 180.0, 270.0), 6, 1.5, 12.0, 6.0), (1, 4, 5))


def test_part_of_a_fan_is_not_filtered():
    half = FanBeamTomography(NoNoise(), 6, arc=200.0).sample(DRAWS, (1, 8, 8))
    with pytest.raises(
        ConfigError, match=r"needs a fan whose source makes a full turn, got 200 deg"
    ):
        half.filtered_back_projection(torch.zeros(1, *half.measurement_shape))


def test_a_disc_has_the_chords_of_a_circle():
    """∫ over a disc of radius r at distance t from its centre: 2√(r² − t²), from every angle."""
    side, radius = 128, 40.0
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    fine = np.hypot(column, row) < radius
    x = torch.from_numpy(fine.astype(float))[None, None]
    geometry = Parallel((0.0, 17.0, 45.0, 90.0, 150.0), 181)
    y = Projector(geometry, (1, side, side)).A(x)[0, 0].numpy()
    t = np.arange(181) - 90.0
    want = 2 * np.sqrt(np.clip(radius**2 - t**2, 0, None))
    assert np.linalg.norm(y - want) < 0.02 * np.linalg.norm(np.broadcast_to(want, y.shape))


def test_a_fan_from_far_away_is_parallel():
    x = torch.from_numpy(discs(SIDE, 2.0))[None, None]
    parallel = Projector(Parallel((0.0, 20.0, 100.0, 250.0), SIDE), (1, SIDE, SIDE))
    far = Fan((0.0, 20.0, 100.0, 250.0), SIDE, 1.0, 1e7, 1.0)
    assert properties.gap(Projector(far, (1, SIDE, SIDE)).A(x), parallel.A(x)) < 1e-4


def test_a_fan_sees_a_disc_along_its_own_lines():
    """The chord of a line at distance t from the centre, t from the geometry of the fan."""
    side, radius, source, screen = 128, 40.0, 200.0, 100.0
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    x = torch.from_numpy((np.hypot(column, row) < radius).astype(float))[None, None]
    fan = Fan((0.0, 33.0, 200.0), 101, 2.0, source, screen)
    y = Projector(fan, (1, side, side)).A(x)[0, 0].numpy()
    offset = 2.0 * (np.arange(101) - 50)
    t = source * np.sin(np.arctan(offset / (source + screen)))
    want = np.broadcast_to(2 * np.sqrt(np.clip(radius**2 - t**2, 0, None)), y.shape)
    assert np.linalg.norm(y - want) < 0.02 * np.linalg.norm(want)


@pytest.mark.parametrize("physics", [Tomography(NoNoise(), 7), FanBeamTomography(NoNoise(), 7)])
def test_detectors_cover_the_image_in_units_of_its_side(physics: Tomography | FanBeamTomography):
    operator = physics.sample(DRAWS, (1, 12, 20))
    ones = torch.ones(1, 1, 12, 20, dtype=torch.float64)
    y = operator.A(ones)
    assert 0.5 < float(y.max()) <= 2**0.5
    seen = operator.A_adjoint(torch.ones_like(y))
    assert float(seen.min()) > 0.2 * float(seen.mean())
    square = physics.sample(DRAWS, (1, 16, 16))
    stated = dataclasses.replace(physics, shape=(1, 16, 16))
    assert stated.image_shape(square.measurement_shape) == (1, 16, 16)


def test_the_start_is_the_filtered_back_projection():
    physics = Tomography(NoNoise(), 60)
    x = torch.from_numpy(discs(64, 2.0))[None, None]
    y, operator = physics.measure(x, DRAWS.take([0]))
    image = FilteredBackProjection().image(data_term(L2(), operator, y))
    assert properties.gap(image, x) < 0.15
    assert torch.equal(image, operator.filtered_back_projection(y))
    flat = data_term(L2(), Identity((1, 8, 8)), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="needs projections along rays, and Identity makes none"):
        FilteredBackProjection().image(flat)


def test_in_a_mixture_of_scans_the_start_is_the_filtered_back_projection_of_each():
    """The scans have numbers of their own, so that the mixture packs them into rows."""
    scans = {"few": Tomography(NoNoise(), 9), "many": Tomography(NoNoise(), 20)}
    draws = Draws(seed=4, images=range(6), dtype=torch.float64)
    x = draws.uniform("images", (1, 8, 8))
    y, operator = Mixture(PerFamilyNoise(), scans).measure(x, draws)
    image = FilteredBackProjection().image(data_term(L2(), operator, y))
    assert y.ndim == 2 and {A.operator.geometry.size[0] for A in operator.operators} == {9, 20}
    for i, k in enumerate(operator.family):
        own = operator.operators[k].operator
        assert torch.equal(image[i], own.filtered_back_projection(own.A(x[i : i + 1]))[0])


def test_a_scan_of_which_parts_are_missing_is_not_back_projected():
    y, operator = Tomography(NoNoise(), 9).measure(torch.ones(1, 1, 8, 8), DRAWS.take([0]))
    kept = MaskedMeasurement(operator, torch.ones_like(y))
    words = r"needs all projections .*MaskedMeasurement leaves some.*Regularised"
    with pytest.raises(ConfigError, match=words):
        FilteredBackProjection().image(data_term(L2(), kept, y))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Tomography(NoNoise(), 0),
            r"Tomography.angles = 0: must be a whole number",
        ),
        (lambda: Tomography(NoNoise(), 9, 200.0), r"Tomography.arc = 200.0: must be in \(0, 180\]"),
        (
            lambda: Tomography(NoNoise(), 9, first=float("nan")),
            r"first = nan: must be finite, in degrees",
        ),
        (lambda: Parallel((), 4), r"Parallel.angles = \[\]: at least one"),
        (lambda: Parallel((0.0,), 0), r"Parallel.detectors = 0: must be a whole number"),
        (lambda: Fan((0.0,), 3, 0.0, 1.0, 1.0), r"Fan.spacing = 0.0: must be positive"),
        (lambda: FanBeamTomography(NoNoise(), source=0.5), r"source = 0.5: must be above 0.707"),
        (
            lambda: Tomography(NoNoise()).image_shape((1, 60, 4)),
            r"\(1, 60, 4\) do not tell the sides",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_the_linear_baseline_is_filtered_back_projection_where_it_applies():
    """Elsewhere, as for a fan that stops half-way round, it is the pseudo-inverse."""
    draws = Draws(seed=2, images=range(1), dtype=torch.float64)
    y, operator = Tomography(NoNoise(), angles=8).measure(IMAGE, draws)
    method, image = operator.linear_baseline(y)
    assert method == "filtered_back_projection"
    assert torch.equal(image, operator.filtered_back_projection(y))
    y, operator = FanBeamTomography(NoNoise(), angles=8, arc=200.0).measure(IMAGE, draws)
    method, image = operator.linear_baseline(y)
    assert method == "pseudo_inverse"
    back = operator.A_adjoint(y)
    assert (operator.normal(image) - back).norm() < 1e-4 * back.norm()


def test_a_large_geometry_is_back_projected_without_a_matrix(monkeypatch):
    geometry = Fan((0.0, 100.0, 200.0, 300.0), 15, 1.0, 20.0, 20.0)
    y = torch.rand(2, 4 * 15, dtype=torch.float64, requires_grad=True)
    by_matrix = geometry.back_project(y, (1, 9, 7))
    monkeypatch.setattr("unfold.physics.ct.rays.MOST", 0)
    by_angles = geometry.back_project(y, (1, 9, 7))
    torch.testing.assert_close(by_angles, by_matrix, rtol=1e-12, atol=1e-12)
    w = torch.rand_like(by_matrix)
    one, other = (torch.autograd.grad(x, y, w)[0] for x in (by_matrix, by_angles))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_matrix_made_in_blocks_is_that_of_scipy(monkeypatch):
    from scipy.sparse import coo_array

    monkeypatch.setattr("unfold.physics.sparse.BLOCK", 7)
    rng, width = np.random.default_rng(0), 11
    blocks = []
    for height in (5, 1, 8):
        row, column = rng.integers(0, height, 30), rng.integers(0, width, 30)
        blocks.append(Entries(row, column, rng.normal(size=30), (height, width)))
    made = stacked(blocks, torch.float64, torch.device("cpu"))
    dense = np.concatenate(
        [coo_array((e.value, (e.row, e.column)), e.shape).todense() for e in blocks]
    )
    v, u = rng.normal(size=(2, width)), rng.normal(size=(2, 14))
    np.testing.assert_allclose(multiply(made, torch.from_numpy(v)), v @ dense.T, rtol=1e-12)
    back = multiply(made.swapped, torch.from_numpy(u))
    np.testing.assert_allclose(back, u @ dense, rtol=1e-12)
    assert made.forward.col_indices().dtype == torch.int32  # 8 bytes an entry, not 12
    assert made.swapped.swapped.forward is made.forward
