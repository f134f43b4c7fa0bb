"""Which stored value is 1: one rule for every entrance, checked against values made by hand."""

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from tests.data.formats import png, saved, tiff
from unfold.algorithms.pgd import PGD
from unfold.data.image_data import FolderData
from unfold.data.image_reader import decode, read_image
from unfold.data.intensity import Facts, doubts
from unfold.errors import ConfigError, DataError, DataWarning
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.single_image import check_measured, read_cropped, read_measurement
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian
from unfold.physics.noise.signal_dependent import PoissonGaussian, Rician
from unfold.priors.l1 import L1
from unfold.reconstructor import Reconstructor

TWELVE = np.random.default_rng(3).integers(0, 4096, (8, 9, 1)).astype(np.uint16)
TWELVE[0, 0], TWELVE[0, 1] = 0, 4095
EXACT = {"rtol": 0, "atol": 1e-7}


def tagged(values, **tags):
    """A TIFF file with tags, by number with an underscore before it."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        info[int(name[1:])] = value
    return saved(
        Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values), "TIFF", tiffinfo=info
    )


@pytest.mark.parametrize("tag", [281, 341])
@pytest.mark.parametrize("white", [4095, 1023, 16383])
def test_a_tiff_states_its_maximum(tag, white):
    values = (TWELVE.astype(int) * white // 4095).astype(np.uint16)
    image = decode(tagged(values, **{f"_{tag}": white}), "x.tif", 1)
    np.testing.assert_allclose(image[0], values[..., 0] / white, **EXACT)


def test_a_value_above_the_stated_maximum_is_refused():
    with pytest.raises(DataError, match=r"values from 0 to 4095, expected \[0, 1023\]"):
        decode(tagged(TWELVE, _281=1023), "x.tif", 1)


@pytest.mark.parametrize("data", [png(TWELVE, 0), tiff(TWELVE), tiff(TWELVE, ">")])
def test_a_range_that_is_stated_holds_for_every_file(data, tmp_path):
    image = decode(data, "x", 1, (0.0, 4095.0))
    np.testing.assert_allclose(image[0], TWELVE[..., 0] / 4095, **EXACT)
    shifted = decode(data, "x", 1, (-100.0, 4900.0))
    np.testing.assert_allclose(shifted[0], (TWELVE[..., 0] + 100.0) / 5000, **EXACT)
    (tmp_path / "y.tif").write_bytes(data)
    read = read_measurement(tmp_path / "y.tif", 1, (0.0, 4095.0))
    np.testing.assert_allclose(read[0], TWELVE[..., 0] / 4095, **EXACT)
    np.testing.assert_allclose(read_cropped(tmp_path / "y.tif", 1, 1, (0.0, 4095.0))[0], image[0])


@pytest.mark.parametrize(
    ("dtype", "shown"), [("<i2", "int16"), ("<i4", "int32"), (">i4", "int32"), ("<u4", "uint32")]
)
def test_types_without_a_white_need_a_range(dtype, shown):
    values = TWELVE.astype(dtype)
    data = tiff_of_kind(values, dtype)
    with pytest.raises(DataError, match=rf"x: {shown}, values from 0 to 4095.*\[0, 4095\]"):
        decode(data, "x", 1)
    image = decode(data, "x", 1, (0.0, 4095.0))
    np.testing.assert_allclose(image[0], TWELVE[..., 0] / 4095, **EXACT)


def tiff_of_kind(values, dtype):
    """`formats.tiff` writes kind 1, unsigned; 2 is signed (TIFF 6.0, section 19)."""
    data = bytearray(tiff(values, dtype[0]))
    order = dtype[0]
    where = bytes(data).rindex(struct.pack(f"{order}HHI", 339, 3, 1))
    data[where + 8 : where + 10] = struct.pack(f"{order}H", 2 if dtype[1] == "i" else 1)
    return bytes(data)


def test_negative_and_large_values_keep_their_sign():
    signed = np.array([[-5, 7], [300, -32768]], "<i2")[..., None]
    image = decode(tiff_of_kind(signed, "<i2"), "x", 1, (-32768.0, 300.0))
    np.testing.assert_allclose(image[0], (signed[..., 0] + 32768.0) / 33068, **EXACT)
    large = np.array([[0, 2**31 + 5], [2**32 - 1, 7]], "<u4")[..., None]
    image = decode(tiff_of_kind(large, "<u4"), "x", 1, (0.0, 2.0**32 - 1))
    np.testing.assert_allclose(image[0], large[..., 0] / (2.0**32 - 1), **EXACT)


def pgm(values, high, comment=b""):
    magic = b"P5" if values.shape[-1] == 1 else b"P6"
    size = f"{values.shape[1]} {values.shape[0]}".encode()
    return b"%s\n%s%s\n%d\n" % (magic, comment, size, high) + values.tobytes()


@pytest.mark.parametrize("high", [255, 7, 4095, 65535])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_pgm_or_ppm_is_divided_by_its_maxval(high, bands):
    kind = ">u2" if high > 255 else "u1"
    values = np.random.default_rng(0).integers(0, high + 1, (5, 7, bands)).astype(kind)
    image = decode(pgm(values, high, b"# made by hand\n"), "x.pgm", bands)
    np.testing.assert_allclose(image.movedim(0, -1), values / high, **EXACT)
    assert "corrupt" in message(pgm(values, high)[:-1])
    assert "a PNM file of kind" in message(b"P2 2 1 255\n1 2\n")


def message(data, channels=1):
    with pytest.raises(DataError) as error:
        decode(data, "x", channels)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("uint8", np.array([[0, 51], [255, 102]], np.uint8), [[0, 0.2], [1, 0.4]]),
        ("uint16", np.array([[0, 13107], [65535, 0]], np.uint16), [[0, 0.2], [1, 0]]),
        ("bool", np.array([[True], [False]]), [[1], [0]]),
        ("float", np.array([[-0.5], [1.7]]), [[-0.5], [1.7]]),
    ],
)
def test_an_array_is_read_as_a_file_of_its_type(name, array, expected, tmp_path):
    np.save(tmp_path / "y.npy", array)
    np.testing.assert_allclose(read_measurement(tmp_path / "y.npy", 1)[0], expected, atol=1e-7)


def test_an_array_without_a_white_or_beyond_it_is_refused(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(256).reshape(16, 16))
    with pytest.raises(DataError, match=r"int64, values from 0 to 255.*intensity_range=\[0, 255\]"):
        read_measurement(tmp_path / "y.npy", 1)
    np.save(tmp_path / "x.npy", np.arange(256.0).reshape(16, 16))
    with pytest.raises(DataError, match=r"values from 0 to 255, expected \[0, 1\].*\[0, 255\]"):
        read_cropped(tmp_path / "x.npy", 1, 1)
    image = read_cropped(tmp_path / "x.npy", 1, 1, (0.0, 255.0))
    np.testing.assert_allclose(image[0], np.arange(256).reshape(16, 16) / 255, atol=1e-7)


def folder_of(path, contents):
    for name, data in contents.items():
        (path / name).write_bytes(data)
    return path


def test_a_folder_of_twelve_bits_is_told_with_figures(tmp_path):
    files = {f"{i}.png": png(np.roll(TWELVE, i, 0), 0) for i in range(5)}
    given = {"root": str(folder_of(tmp_path, files)), "crop": 8, "batch_size": 2}
    words = (
        r"5 files.*uint16 with no value above 4095 of 65535.*0\.0625.*intensity_range=\[0, 4095\]"
    )
    with pytest.warns(DataWarning, match=words):
        FolderData(0, **given).check()
    data = FolderData(0, intensity_range=(0, 4095), **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.check()
    assert max(float(x.max()) for _, x in data.images("train")) == 1
    (notes,) = FolderData(0, **given).check_files(lambda: None)["train"].notes
    assert re.search(words, notes)


@pytest.mark.parametrize("given", [[0], [1, 0], [0, float("nan")], [0, 1, 2]])
def test_a_range_out_of_order_is_refused(given, tmp_path):
    with pytest.raises(ConfigError, match="intensity_range"):
        FolderData(0, root=str(tmp_path), intensity_range=given)


def test_files_that_state_different_maxima_are_told():
    found = [Facts(str(i), "uint16", high, True, 9.0, 1) for i, high in enumerate((4000, 4095.0))]
    (text,) = doubts(found, 1, None)
    assert "2 different values of 1, from 4000 to 4095" in text
    assert doubts(found, 1, (0.0, 1.0)) == []
    assert doubts([Facts("dark", "uint8", 255.0, False, 40.0, 1)], 1, None) == []
    assert doubts([Facts("black", "uint16", 65535.0, False, 0.0, 1)], 1, None) == []


def test_colour_through_a_grey_run_is_told(tmp_path):
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    colour.save(tmp_path / "photo.png")
    for read in (lambda p: read_cropped(p, 1, 8), lambda p: read_measurement(p, 1)):
        with pytest.warns(DataWarning, match=r"photo.png: colour, read as 0.299 red"):
            read(tmp_path / "photo.png")
    read_cropped(tmp_path / "photo.png", 3, 8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Gaussian(25),
        lambda: Gaussian((0, 25)),
        lambda: PoissonGaussian(9, 25.0),
        lambda: Rician(25.0),
        lambda: ImageMetrics(data_range=255.0),
    ],
)
def test_levels_and_ranges_of_eight_bits_are_refused(make):
    with pytest.raises(ConfigError, match=r"25.*\[0, 1\]"):
        make()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_the_significant_bits_of_a_png_fill_its_type():
    """PNG, third edition, section 11.3.2.3: samples are scaled to the full range."""
    full = (TWELVE.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
    image = decode(png(full, 0, chunk(b"sBIT", b"\x0c")), "x", 1)
    np.testing.assert_allclose(image[0], full[..., 0] / 65535, **EXACT)


def test_another_library_reads_the_same(tmp_path):
    """tifffile and imageio, of every type that both know."""
    tifffile, imageio = pytest.importorskip("tifffile"), pytest.importorskip("imageio.v3")
    rng = np.random.default_rng(5)
    for i, array in enumerate(
        [
            rng.integers(0, 256, (6, 7), np.uint8),
            rng.integers(0, 256, (6, 7, 3), np.uint8),
            rng.integers(0, 65536, (6, 7), np.uint16),
            rng.integers(0, 65536, (6, 7, 3), np.uint16),
            rng.random((6, 7), np.float32),
        ]
    ):
        for order in "<>":
            path = tmp_path / f"{i}{order == '<'}.tif"
            tifffile.imwrite(path, array, byteorder=order)
            stored = imageio.imread(path, plugin="tifffile")
            white = np.iinfo(stored.dtype).max if stored.dtype.kind == "u" else 1
            read = read_image(path, 3).movedim(0, -1)
            expected = stored[..., None] if stored.ndim == 2 else stored
            np.testing.assert_allclose(read, np.broadcast_to(expected / white, read.shape), **EXACT)
    assert torch.is_tensor(read) and io is not None


def seen(kind, *peaks, high=None, stated=None):
    return doubts(
        [Facts(f"{i}.png", kind, high, False, p, 1) for i, p in enumerate(peaks)], 1, stated
    )


def test_each_file_is_doubted_as_well_as_all_together():
    (text,) = seen("uint16", *[4095.0] * 7, 65000.0, high=65535.0)
    assert text.startswith("7 files, first 0.png: uint16 with no value above 4095 of 65535")
    assert seen("uint16", 40000.0, 50000.0, high=65535.0) == []
    (text,) = seen("float32", 0.9, 0.05, high=1.0)
    assert text.startswith("1.png: float32 with no value above 0.05 of 1")


def test_files_that_cannot_reach_a_stated_range_are_doubted():
    (text,) = seen("uint8", 255.0, 250.0, high=255.0, stated=(0.0, 4095.0))
    assert "2 files" in text and "says that 4095 is 1" in text
    (text,) = seen("uint16", 4000.0, 200.0, high=65535.0, stated=(0.0, 4095.0))
    assert text.startswith("1.png: uint16 with no value above 200")
    assert seen("uint16", 4000.0, 300.0, high=65535.0, stated=(0.0, 4095.0)) == []


@pytest.mark.parametrize("scale", [10.0, 1e20, 1e30])
def test_what_is_far_above_white_is_doubted(scale):
    y = torch.full((1, 1, 8, 8), scale)
    with pytest.warns(DataWarning, match="divide it by the value of white"):
        check_measured(y[0], Denoising(Gaussian(0.1)), None, 1, picture=False)
    with pytest.warns(DataWarning, match=r"expected \[0, 1\]"):
        Denoising(Gaussian(0.1))(y)
    if scale > 16:
        with pytest.warns(DataWarning, match="divide it by the value of white"):
            Reconstructor(PGD(), L1(), L2(), Unfolded(1))(y, Denoising(Gaussian(0.1)))
