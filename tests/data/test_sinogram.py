"""Measured projections as examples: scikit-image's transform is the reference."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from unfold.data.example import stack
from unfold.data.readers.sinogram import find_axis, line_integrals, read_projections
from unfold.data.sinogram import SinogramData
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.physics.ct.tomography import Tomography
from unfold.physics.noise.base import NoNoise
from unfold.random import Draws

DATA = os.environ.get("UNFOLD_DATA")
RNG = np.random.default_rng(0)
SIDE = 65
ANGLES = np.linspace(0, 180, 90, endpoint=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def phantom():
    """Smooth discs, not symmetric."""
    v, u = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    inside = np.hypot(v, u) < SIDE // 2 - 1
    big = np.exp(-((np.hypot(v, u) / 20) ** 6))
    return inside * (big - 0.5 * np.exp(-((np.hypot(v - 8, u - 3) / 6) ** 4)))


def sinogram(axis=0.0):
    """(V, D) of scikit-image, whose axis is at detector D // 2; moved by `axis` detectors."""
    from scipy.ndimage import shift
    from skimage.transform import radon

    rows = radon(phantom(), theta=ANGLES, circle=True).T
    return shift(rows, (0, axis), order=3).astype(np.float32)


def one(folder, **options):
    options = {"angles": (0.0, float(ANGLES[-1])), "normalize": "none", **options}
    return SinogramData(seed=0, test_root=str(folder), **options).examples("test")[0][1]


def gap(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_the_image_of_all_views_is_that_of_scikit_image(tmp_path):
    from skimage.transform import iradon

    rows = sinogram()
    np.save(tmp_path / "scan.npy", rows)
    ours = one(tmp_path).image[0].numpy()
    theirs = iradon(rows.T, theta=ANGLES, circle=True, filter_name="ramp")
    inside = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE // 2)) < SIDE // 2 - 2
    assert gap(ours[inside], theirs[inside]) < 0.01
    assert gap(ours[inside], phantom()[inside]) < 0.05


@pytest.mark.parametrize("axis", [-4.0, 2.5])
def test_the_axis_of_rotation_is_given_or_found(tmp_path, axis):
    rows = sinogram(axis)
    from scipy.ndimage import shift

    half_a_turn_later = shift(rows[0][::-1], 2 * axis, order=3)
    whole = np.concatenate([rows, half_a_turn_later[None]])
    np.save(tmp_path / "scan.npy", whole)
    options = {"angles": (0.0, 180.0)}
    found = one(tmp_path, axis="find", **options)
    assert abs(float(found.parameters["axis"]) - axis) < 0.1
    assert found.measurement.shape == (1, 90, SIDE)  # the view that repeats the first is dropped
    given = one(tmp_path, axis=axis, **options).image[0].numpy()
    wrong = one(tmp_path, axis=axis + 0.5, **options).image[0].numpy()
    inside = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE // 2)) < SIDE // 2 - 8
    assert gap(given[inside], phantom()[inside]) < 0.05
    assert gap(given[inside], phantom()[inside]) < 0.6 * gap(wrong[inside], phantom()[inside])


def test_the_axis_needs_two_opposite_views():
    with pytest.raises(DataError, match=r"no two of the 90 views are half a turn apart.*data.axis"):
        find_axis(sinogram(), ANGLES)


def test_views_are_drawn_from_a_full_scan_and_measured_as_they_are(tmp_path):
    np.save(tmp_path / "scan.npy", sinogram())
    batch = stack([one(tmp_path)])
    physics = Tomography(NoNoise(), views=30)
    y, operator = physics.measure(batch, Draws(0, [0]))
    assert torch.equal(y, batch.measurement[:, :, ::3])
    projected = operator.A(batch.images)
    assert float((projected - y).norm() / y.norm()) < 0.03
    with pytest.raises(ConfigError, match=r"views = 91: must be at most its 90 angles"):
        Tomography(NoNoise(), views=91).measure(batch, Draws(0, [0]))
    with pytest.raises(ConfigError, match=r"angles = 45: the measured scan has 90; leave it out"):
        Tomography(NoNoise(), 45).measure(batch, Draws(0, [0]))
    assert physics.measure(torch.rand(1, 1, 8, 8), Draws(0, [0])).y.shape == (1, 1, 30, 12)


def test_scans_of_different_angles_share_no_batch(tmp_path):
    np.save(tmp_path / "scan.npy", sinogram())
    first = one(tmp_path)
    other = one(tmp_path, angles=(5.0, 183.0))
    with pytest.raises(ShapeError, match="different angles: set batch_size=1"):
        Tomography(NoNoise()).measure(stack([first, other]), Draws(0, [0, 1]))


def counts(tmp_path, integrals, name="scan.h5", flat=1000.0, dark=50.0):
    h5py = pytest.importorskip("h5py")
    rows = np.exp(-integrals) * (flat - dark) + dark
    with h5py.File(tmp_path / name, "w") as file:
        file["exchange/data"] = rows[:, None].astype(np.float32)
        file["exchange/data_white"] = np.full((4, 1, rows.shape[-1]), flat, np.float32)
        file["exchange/data_dark"] = np.full((3, 1, rows.shape[-1]), dark, np.float32)
        file["exchange/theta"] = ANGLES
    return tmp_path / name


def test_counts_become_line_integrals_by_flats_and_darks(tmp_path):
    integrals = sinogram() / 30
    path = counts(tmp_path, integrals)
    found = read_projections(path)
    np.testing.assert_allclose(line_integrals(path, found)[0], integrals, atol=1e-4)
    np.testing.assert_allclose(found.angles, ANGLES)
    np.save(tmp_path / "flat.npy", np.full((2, SIDE), 1000.0))
    np.save(tmp_path / "dark.npy", np.full(SIDE, 50.0))
    np.save(tmp_path / "raw.npy", (np.exp(-integrals) * 950 + 50).astype(np.float32))
    own = read_projections(
        tmp_path / "raw.npy", str(tmp_path / "flat.npy"), str(tmp_path / "dark.npy")
    )
    np.testing.assert_allclose(line_integrals(path, own)[0], integrals, atol=1e-4)


def test_bad_readings_become_the_mean_of_their_neighbours_and_many_are_refused(tmp_path):
    integrals = sinogram() / 30
    integrals[7, 30], integrals[8, 0] = np.nan, np.inf
    path = counts(tmp_path, integrals)
    found = line_integrals(path, read_projections(path))[0]
    want = (integrals[7, 29] + integrals[7, 31]) / 2
    assert found[7, 30] == pytest.approx(want, abs=1e-4)
    assert found[8, 0] == pytest.approx(integrals[8, 1], abs=1e-4)
    integrals[:, 20:30] = np.nan
    path = counts(tmp_path, integrals)
    with pytest.raises(DataError, match=r"15.* % of the readings .* the first at .*\[0, 0, 20\]"):
        line_integrals(path, read_projections(path))


def test_what_is_not_stated_is_asked_for(tmp_path):
    np.save(tmp_path / "scan.npy", sinogram())
    with pytest.raises(DataError, match=r"states no angles, and has 90 views; give data.angles"):
        one(tmp_path, angles=None)
    np.save(tmp_path / "scan.npy", sinogram().astype(np.uint16))
    with pytest.raises(DataError, match=r"\(uint16\) are counts, and need the flat field"):
        one(tmp_path)


def test_radians_are_not_taken_for_degrees(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = counts(tmp_path, sinogram() / 30)
    with h5py.File(path, "a") as file:
        file["exchange/theta"][:] = np.deg2rad(ANGLES)
    with pytest.raises(DataError, match=r"look like radians. Give data.angles=\[0, 178\]"):
        one(tmp_path, angles=None)


def test_a_truncated_file_is_named(tmp_path):
    path = counts(tmp_path, sinogram() / 30)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"scan.h5: not a complete HDF5 file"):
        one(tmp_path)


@pytest.mark.skipif(not DATA, reason="UNFOLD_DATA is not set: the measured tooth is not here")
def test_the_measured_tooth_is_that_of_scikit_image(tmp_path):
    pytest.importorskip("h5py")
    from skimage.transform import iradon

    file = Path(str(DATA)) / "ct/tooth.h5"
    options = {"angles": None, "axis": "find", "bin": 8}
    found = one(file, **options)
    axis, count = float(found.parameters["axis"]), found.measurement.shape[-1] - 1
    assert abs(axis * 8 + 319.5 - 295.6) < 0.5  # where other tools see it
    # On an odd number of detectors about the axis both put pixels at the same places.
    places = np.arange(count) - count // 2 + (count) / 2 + axis
    rows = np.stack([np.interp(places, np.arange(count + 1), r) for r in found.measurement[0]])
    np.save(tmp_path / "rows.npy", rows.astype(np.float32))
    angles = found.parameters["angles"].numpy()
    ours = one(tmp_path, angles=(angles[0], angles[-1])).image[0].numpy()
    theirs = iradon(rows.T, theta=angles, circle=True, filter_name="ramp")
    inside = np.hypot(*(np.mgrid[:count, :count] - count // 2)) < count // 2 - 2
    assert gap(ours[inside], theirs[inside]) < 0.01


def test_a_tiff_stack_of_counts_has_a_page_for_each_view(tmp_path):
    import tifffile

    integrals = sinogram() / 30
    raw = np.round(np.exp(-integrals) * 60000).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", np.stack([raw, raw], 1), photometric="minisblack")
    tifffile.imwrite(
        tmp_path / "flat.tif", np.full((3, 2, SIDE), 60000, np.uint16), photometric="minisblack"
    )
    with pytest.raises(DataError, match=r"\(uint16\) are counts, and need the flat field"):
        read_projections(tmp_path / "scan.tif")
    found = read_projections(tmp_path / "scan.tif", str(tmp_path / "flat.tif"))
    assert found.values.shape == (2, 90, SIDE)
    for row in line_integrals(tmp_path / "scan.tif", found):
        np.testing.assert_allclose(row, integrals, atol=1e-4)
    colour = np.zeros((4, 5, 3), np.uint8)
    tifffile.imwrite(tmp_path / "colour.tif", colour, photometric="rgb")
    with pytest.raises(DataError, match=r"colour.tif: pages of \(4, 5, 3\); expected grey"):
        read_projections(tmp_path / "colour.tif", str(tmp_path / "flat.tif"))


def test_only_the_rows_that_are_asked_for_are_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    path, rows = tmp_path / "scan.h5", 64
    scale = np.linspace(0.5, 1, rows, dtype=np.float32)[None, :, None]
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.exp(-sinogram()[:, None] / 30 * scale).astype(np.float32)
        file["exchange/data_white"] = np.ones((4, rows, SIDE), np.float32)
        file["exchange/theta"] = ANGLES
    tracemalloc.start()
    some = read_projections(path, rows=slice(3, 6))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    every = read_projections(path)
    np.testing.assert_array_equal(some.values, every.values[3:6])
    np.testing.assert_array_equal(some.flat, every.flat[3:6])
    np.save(tmp_path / "flat.npy", np.arange(1.0, rows + 1)[None, :, None] * np.ones((2, 1, SIDE)))
    own = read_projections(path, str(tmp_path / "flat.npy"), rows=slice(3, 6))
    np.testing.assert_array_equal(own.flat[:, 0], [4.0, 5.0, 6.0])
    found = SinogramData(seed=0, test_root=str(path), rows=(3, 6)).examples("test")
    assert [example.metadata["row"] for _, example in found] == [3, 4, 5]
    assert peak < every.values.nbytes / 2
    with pytest.raises(DataError, match=r"64 rows, and data.rows = \[64, 70\]"):
        read_projections(path, rows=slice(64, 70))
