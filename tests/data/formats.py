"""Files of every format, with the values they hold; written by hand where Pillow cannot."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 5, 7


class Golden(NamedTuple):
    name: str
    data: bytes
    pixels: np.ndarray  # (H, W, 1 or 3), float64 in [0, 1]


def eight(channels: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, channels))
    values[0, 0], values[0, 1] = 0, 255
    return values.astype(np.uint8)


def sixteen(channels: int) -> np.ndarray:
    values = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, channels))
    values[0, 0], values[0, 1] = 0, 65535
    return values.astype(np.uint16)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, colour: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits, unfiltered (PNG specification, third edition, section 5)."""
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [_chunk(b"IHDR", header), extra, _chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def transparent_chunk(data: bytes) -> bytes:
    return _chunk(b"tRNS", data)


def tiff(
    values: np.ndarray, order: str = "<", photometric: int | None = None, planes: int = 1
) -> bytes:
    """An uncompressed TIFF of one strip (TIFF 6.0, section 2), integers or floats."""
    height, width, channels = values.shape
    kind = 3 if values.dtype.kind == "f" else 1
    data = values.astype(values.dtype.newbyteorder(order))
    data = (data if planes == 1 else data.transpose(2, 0, 1)).tobytes()
    bits = struct.pack(f"{order}{channels}H", *[8 * values.dtype.itemsize] * channels)
    kinds = struct.pack(f"{order}{channels}H", *[kind] * channels)
    offset = 8 + len(data)
    plane = len(data) // channels if planes == 2 else 0
    starts = struct.pack(f"{order}{channels}I", *[8 + c * plane for c in range(channels)])
    counts = struct.pack(f"{order}{channels}I", *[plane] * channels)
    strips = channels if planes == 2 else 1
    extra = [bits, kinds, starts, counts]
    places = [offset + sum(map(len, extra[:i])) for i in range(4)]
    directory = offset + sum(map(len, extra))
    one = channels == 1
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, 8 * values.dtype.itemsize if one else places[0]),
        (259, 3, 1, 1),
        (262, 3, 1, photometric if photometric is not None else (1 if one else 2)),
        (273, 4, strips, 8 if strips == 1 else places[2]),
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, 4, strips, len(data) if strips == 1 else places[3]),
        (284, 3, 1, planes),
        (339, 3, channels, kind if one else places[1]),
    ]
    table = struct.pack(f"{order}H", len(entries))
    for tag, form, count, value in entries:
        short = form == 3 and count == 1
        packed = struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
        table += struct.pack(f"{order}HHI", tag, form, count) + packed
    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, directory)
    return mark + data + b"".join(extra) + table + struct.pack(f"{order}I", 0)


def _opaque(values: np.ndarray) -> np.ndarray:
    top = np.full_like(values[..., :1], np.iinfo(values.dtype).max)
    return np.concatenate([values, top], axis=-1)


def _grey8(kind: str, **options: object) -> bytes:
    return saved(Image.fromarray(eight(1)[..., 0]), kind, **options)


def _rgb8(kind: str, **options: object) -> bytes:
    return saved(Image.fromarray(eight(3)), kind, **options)


def _palette() -> bytes:
    image = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH))
    image = image.convert("L")
    image.putpalette(eight(3).tobytes())
    return saved(image, "PNG")


def _one_bit(kind: str) -> bytes:
    return saved(Image.fromarray(eight(1)[..., 0] > 127), kind)


def _cmyk() -> bytes:
    """Without black, red is what cyan leaves of white."""
    ink = np.concatenate([255 - eight(3), np.zeros((HEIGHT, WIDTH, 1), np.uint8)], axis=-1)
    return saved(Image.fromarray(ink, "CMYK"), "TIFF")


def _turned(kind: str, orientation: int, turn: Callable[[np.ndarray], np.ndarray]) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return saved(Image.fromarray(np.ascontiguousarray(turn(eight(3)))), kind, exif=exif)


def _constant_jpeg() -> bytes:
    return saved(Image.new("L", (WIDTH, HEIGHT), 99), "JPEG", quality=100)


def _transposed(values: np.ndarray) -> np.ndarray:
    """What a camera stores with orientation 6: the upright image, a quarter turn to the left."""
    return np.rot90(values, 1)


FLOATS = np.random.default_rng(2).uniform(size=(HEIGHT, WIDTH, 1)).astype(np.float32)
ONE_BIT = (eight(1) > 127).astype(float)

GOLDEN = [
    Golden("grey8.png", _grey8("PNG"), eight(1) / 255),
    Golden("grey8.bmp", _grey8("BMP"), eight(1) / 255),
    Golden("grey8.tif", _grey8("TIFF"), eight(1) / 255),
    Golden("grey8_deflate.tif", _grey8("TIFF", compression="tiff_adobe_deflate"), eight(1) / 255),
    Golden("rgb8.png", _rgb8("PNG"), eight(3) / 255),
    Golden("rgb8.bmp", _rgb8("BMP"), eight(3) / 255),
    Golden("rgb8.tif", _rgb8("TIFF"), eight(3) / 255),
    Golden("rgb8_lzw.tif", _rgb8("TIFF", compression="tiff_lzw"), eight(3) / 255),
    Golden("rgba8.png", saved(Image.fromarray(_opaque(eight(3))), "PNG"), eight(3) / 255),
    Golden("la8.png", saved(Image.fromarray(_opaque(eight(1)), "LA"), "PNG"), eight(1) / 255),
    Golden("palette.png", _palette(), eight(3) / 255),
    Golden("one_bit.png", _one_bit("PNG"), ONE_BIT),
    Golden("one_bit.bmp", _one_bit("BMP"), ONE_BIT),
    Golden("cmyk.tif", _cmyk(), eight(3) / 255),
    Golden("constant.jpg", _constant_jpeg(), np.full((HEIGHT, WIDTH, 1), 99 / 255)),
    Golden("turned.png", _turned("PNG", 6, _transposed), eight(3) / 255),
    Golden("turned.tif", _turned("TIFF", 6, _transposed), eight(3) / 255),
    Golden("mirrored.png", _turned("PNG", 2, np.fliplr), eight(3) / 255),
    Golden("grey16.png", png(sixteen(1), 0), sixteen(1) / 65535),
    Golden("rgb16.png", png(sixteen(3), 2), sixteen(3) / 65535),
    Golden("la16.png", png(_opaque(sixteen(1)), 4), sixteen(1) / 65535),
    Golden("rgba16.png", png(_opaque(sixteen(3)), 6), sixteen(3) / 65535),
    Golden("grey16.tif", tiff(sixteen(1)), sixteen(1) / 65535),
    Golden("grey16_big.tif", tiff(sixteen(1), ">"), sixteen(1) / 65535),
    Golden("rgb16.tif", tiff(sixteen(3)), sixteen(3) / 65535),
    Golden("rgb16_big.tif", tiff(sixteen(3), ">"), sixteen(3) / 65535),
    Golden("float.tif", tiff(FLOATS), FLOATS.astype(float)),
    Golden("float_big.tif", tiff(FLOATS, ">"), FLOATS.astype(float)),
]
