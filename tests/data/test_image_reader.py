"""Every format gives the values it stores; every file that cannot is refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data import formats
from tests.data.formats import GOLDEN, eight, png, saved, sixteen, tiff, transparent_chunk
from unfold.data.image_reader import decode, read_image
from unfold.errors import DataError

EXACT = 1e-7


def luma(pixels):
    return pixels if pixels.shape[-1] == 1 else pixels @ np.array([[0.299], [0.587], [0.114]])


def colour(pixels):
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: g.name)
@pytest.mark.parametrize(("channels", "expected"), [(1, luma), (3, colour)])
def test_pixel_values_of_every_format(golden, channels, expected, tmp_path):
    path = tmp_path / golden.name
    path.write_bytes(golden.data)
    image = read_image(path, channels)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    np.testing.assert_allclose(
        image.numpy().transpose(1, 2, 0), expected(golden.pixels), rtol=0, atol=EXACT
    )


def test_sixteen_bits_are_distinguished():
    values = np.arange(32768, 32768 + 4, dtype=np.uint16).reshape(2, 2, 1)
    for data in (png(values, 0), png(np.repeat(values, 3, -1), 2), tiff(values)):
        assert len(decode(data, "x", 1).unique()) == 4


def test_a_jpeg_is_rotated_by_its_exif_data():
    image = Image.new("RGB", (8, 12), "red")
    exif = Image.Exif()
    exif[274] = 6
    assert decode(saved(image, "JPEG", exif=exif), "x.jpg", 3).shape == (3, 8, 12)


def test_a_cmyk_jpeg_is_converted_to_rgb():
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image = decode(saved(ink, "JPEG", quality=100), "x.jpg", 3)
    np.testing.assert_allclose(image.mean((1, 2)), [0, 1, 1], atol=0.01)


def pages(kind):
    file = io.BytesIO()
    first, second = Image.new("L", (4, 4)), Image.new("L", (4, 4), 9)
    first.save(file, kind, save_all=True, append_images=[second])
    return file.getvalue()


def alpha(kind):
    image = Image.new(kind, (4, 3), (255,) * len(kind))
    image.putpixel((0, 0), tuple([0] * len(kind)))
    return saved(image, "PNG")


def transparent_palette():
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.putpixel((1, 1), 0)
    return saved(image, "PNG", transparency=0)


def bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = formats._chunk(b"IHDR", header) + formats._chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + data + formats._chunk(b"IEND", b"")


def floats(value):
    return tiff(np.array([[0.5, value]], np.float32)[..., None])


GOOD = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), "u1")), "PNG")
JPEG = saved(Image.open(io.BytesIO(GOOD)), "JPEG")
DEEP_CMYK = tiff(sixteen(4), photometric=5)

REFUSED = {
    "empty.png": (b"", r"not an image that can be read \(0 bytes\).*PNG, JPEG, TIFF, BMP"),
    "text.png": (b"hello", r"not an image that can be read \(5 bytes\)"),
    "tga.png": (saved(Image.new("L", (4, 4)), "TGA"), "not an image that can be read"),
    "truncated.png": (GOOD[: len(GOOD) // 2], "corrupt or truncated"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "corrupt or truncated"),
    "flipped.png": (GOOD[:200] + bytes([GOOD[200] ^ 255]) + GOOD[201:], "corrupt or truncated"),
    "pages.tif": (pages("TIFF"), "2 pages; expected one"),
    "animated.png": (pages("PNG"), "2 pages; expected one"),
    "rgba.png": (alpha("RGBA"), "1 pixels are transparent"),
    "la.png": (alpha("LA"), "1 pixels are transparent"),
    "palette.png": (transparent_palette(), "1 pixels are transparent"),
    "rgba16.png": (png(sixteen(4), 6), "pixels are transparent"),
    "key16.png": (png(sixteen(1), 0, transparent_chunk(b"\0\0")), "16-bit grey with a transp"),
    "key48.png": (png(sixteen(3), 2, transparent_chunk(b"\0" * 6)), "16-bit colour with a transp"),
    "large.png": (bomb(8193, 8192), r"8192x8193 pixels, more than the limit of 67108864"),
    "bomb.png": (bomb(30000, 30000), "900000000 pixels"),
    "nan.tif": (floats(np.nan), "1 of 2 values are NaN or infinite"),
    "infinite.tif": (floats(np.inf), "1 of 2 values are NaN or infinite"),
    "bright.tif": (floats(255.0), r"values from 0.5 to 255, expected \[0, 1\]"),
    "dark.tif": (floats(-0.25), r"values from -0.25 to 0.5, expected \[0, 1\]"),
    "white0.tif": (tiff(sixteen(1), photometric=0), "white stored as 0"),
    "planes.tif": (tiff(sixteen(3), planes=2), "16-bit colours on separate planes"),
    "cmyk16.tif": (DEEP_CMYK, "16-bit pixels of kind CMYK;16L"),
    "uint32.tif": (tiff(eight(1).astype(np.uint32)), "uint32, values from 0 to 255; the type does"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_is_named(name, tmp_path):
    data, words = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=words) as error:
        read_image(tmp_path / name, 1)
    assert str(tmp_path / name) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.png: cannot be read \(No such file"):
        read_image(tmp_path / "gone.png", 1)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: g.name)
def test_damaged_files_raise_data_errors_only(golden):
    """Whatever byte is wrong, a file is read or refused with its name."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        data = bytearray(golden.data)
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        damaged = bytes(data[: rng.integers(1, len(data) + 1)])
        try:
            image = decode(damaged, golden.name, 1)
        except DataError as error:
            assert golden.name in str(error)
        else:
            assert 0 <= float(image.min()) <= float(image.max()) <= 1
