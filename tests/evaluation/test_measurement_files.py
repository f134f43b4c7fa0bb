"""A measurement is read with the axes, scale and geometry that are stated."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.bad_input.test_calls import as_users_call  # noqa: F401  # a fixture
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError, DataError, DataWarning, ShapeError
from unfold.evaluation.measurement_file import (
    described,
    read_case,
    read_geometry,
    write_measurement,
)
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.single_image import (
    check_measured,
    new_output,
    read_cropped,
    read_measurement,
    reconstruct_measured,
    reconstruct_simulated,
)
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel, MotionKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.ct.projector import diagonal
from unfold.physics.ct.tomography import FanBeamTomography, Tomography
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.mixture import Mixture
from unfold.physics.mri.cartesian import MRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.phase.retrieval import RandomPhaseRetrieval
from unfold.physics.sensing.compressed import SinglePixel
from unfold.priors.tikhonov import Tikhonov
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.solvers.linear_map import positive_bound

PHOTO = np.random.default_rng(0).integers(0, 256, (16, 24), np.uint8)
DRAWS = Draws(0, range(1))


def saved(path, array):
    np.save(path, array)
    return path


def test_the_norm_of_the_operator_of_a_measurement_is_found_once(tmp_path, monkeypatch):
    found = []

    def counted(*given):
        found.append(given)
        return positive_bound(*given)

    monkeypatch.setattr("unfold.physics.operator.positive_bound", counted)
    physics = Tomography(NoNoise(), 8, shape=(1, 16, 16))
    y = physics(torch.full((1, 1, 16, 16), 0.5))[0]
    operator = check_measured(y, physics, (1, 16, 16), 1, picture=False)
    net = Reconstructor(PGD(), Tikhonov(), L2(), Classical(1e-3, 3))
    reconstruct_measured(net, physics, operator, y, tmp_path / "out.png")
    assert len(found) == 1


@pytest.mark.parametrize("name", ["vector.npy", "image.npy", "y.npz", "nothing.npy", "nothing.npz"])
def test_an_empty_file_or_array_is_named_with_the_remedy(tmp_path, name):
    path, kind = tmp_path / name, np.float32
    path.write_bytes(b"")
    if name.startswith(("vector", "image")):
        np.save(path, np.empty(0 if name.startswith("vector") else (1, 0, 16), kind))
    if name.startswith("y"):
        np.savez(path, y=np.empty((0, 4), kind))
    words = (
        "not a readable"
        if name.startswith("nothing")
        else r"one array of numbers, and not an empty one, got float32 \(.*0.*\)"
    )
    for read in (lambda: read_measurement(path, 1), lambda: read_cropped(path, 1, 1)):
        with pytest.raises(DataError, match=words):
            read()


def test_the_last_axis_is_channels_where_it_has_those_of_the_run(tmp_path):
    colour = np.random.default_rng(0).random((8, 9, 3), np.float32)
    for array in (colour, np.moveaxis(colour, -1, 0)):
        read = read_measurement(saved(tmp_path / "y.npy", array), 3)
        assert torch.equal(read, torch.from_numpy(colour).movedim(-1, 0))
    assert read_measurement(saved(tmp_path / "y.npy", colour[..., :1]), 1).shape == (1, 8, 9)
    assert read_measurement(saved(tmp_path / "y.npy", colour[..., 0]), 1).shape == (1, 8, 9)
    with pytest.raises(DataError, match=r"\(3, 9, 3\) is \(C, H, W\) or \(H, W, C\)"):
        read_measurement(saved(tmp_path / "y.npy", colour[:3]), 3)


@pytest.mark.parametrize("shape", [(8, 9, 3), (3, 8, 9), (8, 9, 4)])
def test_channels_that_the_run_does_not_have_are_refused(shape, tmp_path):
    y = read_measurement(saved(tmp_path / "y.npy", np.zeros(shape, np.float32)), 1)
    with pytest.raises(ShapeError, match=r"channels, and the run has 1; axes are \(C, H, W\)"):
        check_measured(y, Denoising(NoNoise()), None, 1, picture=False)


def test_the_default_sinogram_of_scikit_image_has_its_own_size():
    radon = pytest.importorskip("skimage.transform").radon
    rows, columns = np.mgrid[:64, :64] - 31.5
    disc = (np.hypot(rows - 0.5, columns - 0.5) < 31) * np.exp(
        -(rows**2 + (columns - 6) ** 2) / 100
    )  # not in the middle
    angles = np.arange(60) * 3.0
    sinogram = torch.from_numpy(radon(disc, angles, circle=True).T.copy() / 64)[None, None].float()
    physics = Tomography(NoNoise(), 60)
    with pytest.raises(ConfigError, match=r"Tomography.shape: .*give its shape, \[C, H, W\]"):
        physics.operator_for(sinogram)
    with pytest.raises(ShapeError, match=r"expects \(batch, 1, 60, 91\), got \(1, 1, 60, 64\)"):
        Tomography(NoNoise(), 60, shape=(1, 64, 64)).operator_for(sinogram)
    stated = Tomography(NoNoise(), 60, detectors=64, shape=(1, 64, 64))
    operator = stated.operator_for(sinogram)
    truth = torch.from_numpy(disc)[None, None].float()
    found = operator.filtered_back_projection(sinogram)
    assert found.shape == truth.shape
    assert (found - truth).norm() < 0.2 * truth.norm()  # whose axis is half a pixel off
    with pytest.raises(ShapeError, match="its axes are in another order"):
        stated.operator_for(sinogram.movedim(-1, -2))


@pytest.mark.parametrize("kind", [Tomography, FanBeamTomography])
def test_fewer_or_more_detectors_are_those_in_the_middle(kind):
    """Against the same rays of a scan that covers the image."""
    full = diagonal((1, 12, 12))
    x = torch.from_numpy(np.random.default_rng(0).random((1, 1, 12, 12)))
    own = kind(NoNoise(), 5, detectors=full + 4).measure(x, DRAWS).y
    y = kind(NoNoise(), 5).measure(x, DRAWS).y
    assert own.shape[-1] == full + 4
    if kind is Tomography:
        torch.testing.assert_close(own[..., 2:-2], y)
        assert float(own[..., 0].abs().max()) == 0


@pytest.mark.parametrize(
    ("physics", "y", "error"),
    [
        (FanBeamTomography(NoNoise()), torch.zeros(1, 1, 60, 91), ConfigError),
        (RandomPhaseRetrieval(NoNoise()), torch.zeros(1, 1, 256), ConfigError),
        (SinglePixel(NoNoise()), torch.zeros(1, 1, 65), ShapeError),
        (SinglePixel(NoNoise()), torch.zeros(1, 1, 8, 8), ShapeError),
        (Tomography(NoNoise(), shape=(1, 8, 8)), torch.zeros(1, 60), ShapeError),
    ],
)
def test_a_geometry_is_not_guessed(physics, y, error):
    with pytest.raises(error):
        physics.operator_for(y)


def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    return path


def test_what_is_written_is_read_again_with_its_geometry(tmp_path):
    """Bit by bit, also what a picture clips: 39 % of the readings of a white image."""
    physics = Tomography(Gaussian(0.02), 9)
    net = Reconstructor(PGD(), Tikhonov(), L2(), Classical())
    white = torch.ones(1, 16, 24)
    figures = reconstruct_simulated(net, physics, white, tmp_path / "a.png", ImageMetrics(), 0)
    assert figures["iterations"] > 0
    path = tmp_path / "a_measurement.npz"
    y, (shape, model) = read_measurement(path, 1), read_geometry(path)
    expected = physics.measure(white[None], Draws(0, (0,), "reconstruct")).y[0]
    assert torch.equal(y, expected) and float(y.max()) > 1
    assert shape == (1, 16, 24) and model == described(physics.with_noise(NoNoise()))
    assert model != described(Tomography(Gaussian(0.02), 9, 120.0))
    operator = physics.operator_for(y[None], shape)
    reconstruct_measured(net, physics, operator, y, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(DataError, match=r"for people\. Give the \.npz file"):
        read_measurement(tmp_path / "a_measurement.png", 1)


def mixed():
    own = Gaussian((0.01, 0.05))
    return Mixture(
        own, {"blur": Blur(own, MotionKernel(9, (3.0, 7.0))), "mask": Inpainting(own, (0.3, 0.7))}
    )


@pytest.mark.parametrize(
    ("physics", "name"),
    [
        (lambda: Blur(Gaussian((0.01, 0.05)), MotionKernel(9, (3.0, 7.0))), "operator.kernel"),
        (lambda: SuperResolution(Gaussian(0.02), GaussianKernel(9, (0.5, 2.0)), 2), "kernel"),
        (lambda: Inpainting(Gaussian(0.02), (0.3, 0.7)), "operator.mask"),
        (lambda: MRI(Gaussian(0.01), RandomColumns()), "mask"),
        (mixed, "operator."),
    ],
)
def test_a_random_operator_is_kept_with_its_measurement(tmp_path, physics, name):
    physics = physics()
    net = Reconstructor(PGD(), Tikhonov(), L2(), Classical(1e-3, 20))
    truth = torch.from_numpy(np.random.default_rng(0).random((1, 32, 32), np.float32))
    reconstruct_simulated(net, physics, truth, tmp_path / "a.npy", ImageMetrics(), 7)
    path = tmp_path / "a_measurement.npz"
    draws = Draws(7, (0,), "reconstruct")
    y, expected = physics.measure(truth[None], draws)
    with np.load(path) as found:
        assert any(name in key for key in found.files)
        sigma = physics.noise_level(y, expected, draws)
        assert sigma is None or np.allclose(found["noise_level"], sigma.numpy())
    read = read_measurement(path, 1)
    operator, level = read_case(path, physics, read_geometry(path)[0])
    torch.testing.assert_close(operator.A(truth[None]), expected.A(truth[None]))
    operator = check_measured(read, physics, (1, 32, 32), 1, picture=False, operator=operator)
    reconstruct_measured(net, physics, operator, read, tmp_path / "b.npy", level=level)
    np.testing.assert_allclose(
        np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"), atol=1e-5, rtol=0
    )


def test_the_parameters_in_the_file_count_and_others_are_refused(tmp_path):
    """A file with an operator of another size, or with values that are not finite."""
    physics = Inpainting(Gaussian(0.02), (0.3, 0.7))
    net = Reconstructor(PGD(), Tikhonov(), L2(), Classical(1e-3, 3))
    reconstruct_simulated(
        net, physics, torch.zeros(1, 16, 16), tmp_path / "a.npy", ImageMetrics(), 0
    )
    path = tmp_path / "a_measurement.npz"
    found = dict(np.load(path))
    found["operator.mask"] = np.eye(16, dtype="f4")[None, None]
    np.savez(path, **found)
    assert torch.equal(read_case(path, physics, (1, 16, 16))[0].mask[0, 0], torch.eye(16))
    for odd in (np.zeros((1, 1, 8, 8), "f4"), np.full((1, 1, 16, 16), np.nan, "f4")):
        np.savez(path, **(found | {"operator.mask": odd}))
        with pytest.raises(DataError, match=r"operator.mask is float32 .*expected finite"):
            read_case(path, physics, (1, 16, 16))
    for name, odd in (("seed", "abc"), ("seed", []), ("noise_level", "x"), ("noise_level", [1, 2])):
        np.savez(path, **(found | {name: np.array(odd)}))
        with pytest.raises(DataError, match=rf"{name} is .*; expected one number"):
            read_case(path, physics, (1, 16, 16))


def test_a_picture_cannot_hold_the_readings_of_a_scan(tmp_path):
    physics = Tomography(NoNoise(), 16, detectors=24, shape=(1, 24, 24))
    y = read_measurement(photo(tmp_path), 1)
    with pytest.raises(DataError, match=r"a picture holds readings from 0 to 1, .* up to 1\.\d+"):
        check_measured(y, physics, None, 1, picture=True)
    check_measured(y, physics, None, 1, picture=False)


@pytest.mark.parametrize("dtype", ["complex64", "float32"])
def test_any_shape_comes_back_as_it_was(dtype, tmp_path):
    for shape in ((1, 7), (1, 3, 8, 8), (5,), (3, 9, 3)):
        y = torch.randn(shape, dtype=getattr(torch, dtype))
        write_measurement(tmp_path / "y.npz", y, (1, 8, 8))
        assert torch.equal(read_measurement(tmp_path / "y.npz", 3), y)


def test_an_output_never_replaces_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = photo(tmp_path)
    before = source.read_bytes()
    os.link(source, "hard.png")
    Path("soft.png").symlink_to("photo.png")
    Path("dangling.png").symlink_to("nowhere.png")
    Path("kept_measurement.npz").write_bytes(b"mine")
    Path("picture_measurement.png").write_bytes(b"mine")
    for name in ("photo.png", "./photo.png", "hard.png", "soft.png", "dangling.png", "kept.png"):
        with pytest.raises(ConfigError, match=r"exists, and is not replaced. Remove it, or name"):
            new_output(name, source, simulated=True)
    with pytest.raises(ConfigError, match=r"picture_measurement.png exists"):
        new_output("picture.jpg", source, simulated=True)
    assert new_output("picture.jpg", source, simulated=False) == Path("picture.jpg")
    assert new_output(None, source, simulated=True) == Path("photo_reconstructed.png")
    Path("photo_reconstructed.png").write_bytes(b"earlier")
    Path("photo_reconstructed_2_measurement.npz").write_bytes(b"earlier")
    assert new_output(None, source, simulated=True) == Path("photo_reconstructed_3.png")
    assert source.read_bytes() == before


PHYSICS = Denoising(NoNoise())
NETWORK = Reconstructor(PGD(), Tikhonov(), L2(), Classical())
ARRAY = np.zeros((1, 1, 8, 8), np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda: PHYSICS.measure(ARRAY, DRAWS),
        lambda: PHYSICS.operator_for(ARRAY),
        lambda: NETWORK(ARRAY, PHYSICS),
        lambda: NETWORK(ARRAY, PHYSICS.operator_for(torch.zeros(1, 1, 8, 8))),
        lambda: PHYSICS.operator_for(torch.zeros(1, 1, 8, 8)).A(ARRAY),
        lambda: PHYSICS.operator_for(torch.zeros(1, 1, 8, 8)).A_adjoint(ARRAY),
    ],
)
def test_an_array_of_numpy_is_refused_with_what_to_do(call, as_users_call):  # noqa: F811
    with pytest.raises(ShapeError, match=r"a tensor .*got numpy.ndarray; .*torch.as_tensor"):
        call()


def test_a_missing_axis_is_named(as_users_call):  # noqa: F811
    with pytest.raises(ShapeError, match=r"\(batch, C, H, W\), got \(1, 8, 8\): x\[None\]"):
        Tomography(NoNoise()).measure(torch.zeros(1, 8, 8), DRAWS)
    operator = PHYSICS.operator_for(torch.zeros(1, 3, 8, 9))
    with pytest.raises(ShapeError, match=r"an axis is missing"):
        operator.A(torch.zeros(3, 8, 9))
    with pytest.raises(ShapeError, match=r"another order; permute them"):
        operator.A(torch.zeros(1, 8, 9, 3))


def test_intensities_of_eight_bits_are_told():
    bright = torch.full((1, 1, 8, 8), 200.0)
    with pytest.warns(DataWarning, match=r"Denoising.measure: intensities up to 200, expected \[0"):
        PHYSICS.measure(bright, DRAWS)
    with pytest.warns(DataWarning, match=r"norm 1600, and images in \[0, 1\] have at most 8"):
        NETWORK(bright, PHYSICS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NETWORK(bright / 255, PHYSICS)


def test_an_array_is_an_input_too(tmp_path):
    array = PHOTO / 255
    read = read_cropped(saved(tmp_path / "x.npy", array), 1, 8)
    np.testing.assert_allclose(read[0], array, atol=1e-7)
    with pytest.raises(DataError, match="no real image of 1 channels"):
        read_cropped(saved(tmp_path / "x.npy", np.zeros((2, 8, 8))), 1, 8)


def test_measurements_that_cannot_be_of_the_run_name_their_axes():
    physics = Denoising(Gaussian(0.1))
    for y, kind, words in (
        (torch.zeros(1, 8, 8, dtype=torch.complex64), DataError, "is complex"),
        (torch.zeros(0, 8), DataError, "is empty"),
        (torch.zeros(8), ShapeError, r"shape \(8,\).*\(C, H, W\)"),
        (torch.zeros(1, 1, 8, 8), ShapeError, r"\(C, H, W\)"),
        (torch.zeros(16, 16, 3), ShapeError, r"is \(H, W, 3\), of 3 channels, and the run has 1"),
    ):
        with pytest.raises(kind, match=words):
            check_measured(y, physics, None, 1, picture=False)
