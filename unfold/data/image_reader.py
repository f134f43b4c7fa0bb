"""One image file as a tensor in [0, 1], without loss of bits.

Gamma and colour profiles are ignored: which stored value is 1 stands in `intensity`.
"""

import io
import re
import sys
import warnings
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image as Pillow
from PIL import ImageFile, ImageOps, TiffImagePlugin

from unfold.arrays import expect_room
from unfold.data.example import Picture
from unfold.data.intensity import Facts, Interval, Stored, facts, to_channels, to_unit
from unfold.errors import DataError

COLOUR = ("RGB;16", "RGBA;16")
"""Raw modes, without the byte order, that Pillow reads in both byte orders."""

Values = Int64[np.ndarray, "_ _ _"]


def _sixteen_bit_colour(data: bytes, raw: str, page: int, name: str) -> Values:
    """(H, W, 2 to 4), from 0 to 65535: the high and the low bytes, which Pillow decodes as 8 bits.

    `raw` is the mode of the decoder.

    Raises:
        DataError: the pixels are of a kind that cannot be read exactly.
    """
    if raw == "LA;16B":  # decoded as red, green, blue and alpha: 4 bytes per pixel
        values = _decoded(data, "RGBA", page)
        high, low = values[..., 0::2], values[..., 1::2]
    elif raw[:-1] in COLOUR:
        order = raw[-1].replace("N", "L" if sys.byteorder == "little" else "B")
        other = "L" if order == "B" else "B"
        high, low = (_decoded(data, raw[:-1] + one, page) for one in (order, other))
    else:
        raise DataError(f"{name}: 16-bit pixels of kind {raw}. Save it as 16-bit RGB or grey PNG.")
    joined: Values = 256 * high + low
    return joined


def _raw_mode(picture: Pillow.Image) -> str:
    """The raw mode of the decoder, such as `RGB;16B`; empty where there is none."""
    if not isinstance(picture, ImageFile.ImageFile) or not picture.tile:
        return ""
    arguments = picture.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _decoded(data: bytes, raw: str, page: int) -> Values:
    """The image decoded with another raw mode, upright."""
    picture = Pillow.open(io.BytesIO(data), formats=("PNG", "TIFF"))
    picture.seek(page)
    assert isinstance(picture, ImageFile.ImageFile)
    picture.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in picture.tile
    ]
    return np.asarray(ImageOps.exif_transpose(picture)).astype(np.int64)


FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""The formats that are read; no others are tried."""

LARGEST = 2**26
"""The most pixels of an image: 8192 x 8192."""

LARGEST_FILE = 2**30
"""Bytes of a file: the largest image with 16 bytes for each pixel."""

MOST_PAGES = 16
"""Pages of a file among which the one that is not a thumbnail is looked for."""

EIGHT_BITS = ("1", "L", "P", "PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pixel modes that Pillow converts to red, green, blue and alpha without loss."""

SUBFILE, OLD_SUBFILE, BITS, PHOTOMETRIC, SAMPLES = 254, 255, 258, 262, 277
HIGHEST, PLANES, EXTRA, SAMPLE_FORMAT, SIGNED_HIGHEST = 281, 284, 338, 339, 341
"""TIFF tags: subfile types, bits per sample, photometric interpretation, samples per pixel,
largest sample, planar configuration, extra samples, sample format, largest sample of any format.
Source: Adobe, TIFF Revision 6.0, section 8, 1992."""

COMMENTED = rb"(?:\s|#[^\r\n]*[\r\n])"
NETPBM = re.compile(rb"P([56])" + 3 * (COMMENTED + rb"+(\d{1,9})") + rb"(?:[ \t]*#[^\r\n]*)?\s")
"""The header of a binary PGM or PPM file: width, height, maxval; with comments."""

Pixels = Float64[np.ndarray, "_ _ _"]


@cache
def suffixes() -> tuple[str, ...]:
    """Suffixes of image files, in lower case."""
    Pillow.init()
    return tuple(
        sorted(s for s, kind in Pillow.registered_extensions().items() if kind in (*FORMATS, "MPO"))
    )


def read_bytes(path: Path | Traversable) -> bytes:
    """A file, of a bounded size.

    Raises:
        DataError: it cannot be read, or is larger than an image can be, or than the free memory.
    """
    try:
        size = path.stat().st_size if isinstance(path, Path) else 0  # none of a packaged file
        if size > LARGEST_FILE:
            raise ValueError(f"{size} bytes, more than the limit of {LARGEST_FILE}; cut the image")
        expect_room(size)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error


def read_image(path: Path, channels: int, stated: Interval | None = None) -> Picture:
    """(channels, H, W), float32 in [0, 1]: the image in a file, rotated as its EXIF data say.

    Args:
        path: a PNG, JPEG, TIFF, BMP, GIF, WebP, PGM or PPM file of one image: grey, RGB, palette,
            1 bit or CMYK, 8 or 16 bits; or a grey TIFF of 32-bit integers or floats.
        channels: 1 for luma, 3 for red, green and blue (three times the same for a grey image).
        stated: which stored values are 0 and 1; see `intensity`.

    Raises:
        DataError: the file is missing, corrupt, transparent, has several pages, more than 8192 x
            8192 pixels, values outside [0, 1] or not finite, or pixels of another kind.
    """
    return decode(read_bytes(path), str(path), channels, stated)


def decode(data: bytes, name: str, channels: int, stated: Interval | None = None) -> Picture:
    """The image in the bytes of a file; see `read_image`. `name` is for messages."""
    return decode_with_facts(data, name, channels, stated)[0]


def decode_with_facts(
    data: bytes, name: str, channels: int, stated: Interval | None, *, bounded: bool = True
) -> tuple[Picture, Facts]:
    """As `decode`; also what is to be said of it. A measurement is not `bounded` to [0, 1]."""
    stored = stored_pixels(data, name)
    image = to_channels(to_unit(stored, stated, name, bounded=bounded), channels)
    image = image.clamp(0.0, 1.0) if bounded else image
    grey = (stored.values == stored.values[..., :1]).all()
    return image.contiguous(), facts(stored, name, 1 if grey else stored.values.shape[-1])


def stored_pixels(data: bytes, name: str, page: int | None = None) -> Stored:
    """(H, W, 1 or 3), of a page, or of the only one; a `DataError` as of `read_image`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's bomb warning; its error comes below
        picture = _open(data, name)
        try:
            picture.seek(_only_page(picture, name) if page is None else page)
            _expect_bounded(picture, name)
            return _stored(picture, data, name)
        except DataError:
            raise
        # Pillow's decoders raise errors of many kinds where bytes make no sense.
        except Exception as error:
            raise DataError(f"{name}: corrupt or truncated ({error}). Replace the file.") from error


def _open(data: bytes, name: str) -> Pillow.Image:
    try:
        return Pillow.open(io.BytesIO(data), formats=FORMATS)
    except Pillow.DecompressionBombError as error:
        raise DataError(f"{name}: {error} Scale the image down.") from error
    except Exception as error:
        formats = ", ".join(FORMATS)
        raise DataError(
            f"{name}: {_tiff_kind(data) or 'not an image'} that can be read ({len(data)} bytes). "
            f"Expected one of {formats}, with up to 16 bits per channel or grey 32-bit values."
        ) from error


def _tiff_kind(data: bytes) -> str:
    """What the directory of a TIFF file says of its pixels; empty where it is none."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        stream = io.BytesIO(data)
        stream.seek(directory.next)
        directory.load(stream)
        bits, samples = directory.get(BITS, (1,)), directory.get(SAMPLES, 1)
        kind = {2: "signed", 3: "float"}.get(directory.get(SAMPLE_FORMAT, (1,))[0], "unsigned")
    except Exception:  # a directory of bytes without sense, in as many ways as there are tags
        return ""
    order = "big" if data[:2] == b"MM" else "little"
    return f"a TIFF file of {samples} {kind} {bits[0]}-bit samples ({order}-endian), and none"


def pages(data: bytes, name: str) -> list[int]:
    """The places of the pages of a file that are neither thumbnails nor masks."""
    return _pages(_open(data, name), LARGEST_FILE)


def _pages(picture: Pillow.Image, most: int) -> list[int]:
    full: list[int] = []
    for page in range(1 if picture.format == "MPO" else most):
        try:
            picture.seek(page)
        except EOFError:
            break
        tags = getattr(picture, "tag_v2", {})  # Pillow has it on TIFF only
        if not tags.get(SUBFILE, 0) & 5 and tags.get(OLD_SUBFILE) != 2:
            full.append(page)
    return full


def _only_page(picture: Pillow.Image, name: str) -> int:
    """The page that is neither a thumbnail nor a mask; of a phone's MPO file, the photograph."""
    full = _pages(picture, MOST_PAGES)
    if len(full) > 1:
        raise DataError(
            f"{name}: at least 2 pages; expected one. Save each as its own file, or set "
            "data=volumes, where each is an image."
        )
    if not full:
        raise DataError(f"{name}: all its pages are thumbnails or masks. Save the image alone.")
    return full[0]


def _expect_bounded(picture: Pillow.Image, name: str) -> None:
    width, height = picture.size
    if width * height > LARGEST:
        raise DataError(
            f"{name}: {height}x{width} pixels, more than the limit of {LARGEST}. "
            "Cut the image into parts."
        )
    try:
        expect_room(24 * width * height * len(picture.getbands()))  # double precision, and copies
    except ValueError as error:
        raise DataError(f"{name}: {height}x{width} pixels; {error}.") from error


def _stored(picture: Pillow.Image, data: bytes, name: str) -> Stored:
    """(H, W, 1 or 3), as stored; alpha is dropped if opaque."""
    if picture.format == "PPM" and picture.mode not in ("1", "F"):
        return _netpbm(data, name)
    _expect_plain_tiff(picture, name)
    tags, raw, grey = getattr(picture, "tag_v2", {}), _raw_mode(picture), picture.mode[0] in "IF"
    if ";16" in raw and "transparency" in picture.info:
        kind = "grey" if grey else "colour"
        raise DataError(f"{name}: 16-bit {kind} with a transparent value. Save it without.")
    if ";16" in raw and not grey:
        values = _sixteen_bit_colour(data, raw, picture.tell(), name)
        return _limited(Stored(_opaque(values, 65535, name), "uint16", 65535.0), tags)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    values = np.asarray(upright)[..., None]
    if upright.mode.startswith("I;16"):
        return _limited(Stored(values, "uint16", 65535.0), tags)
    if upright.mode == "F":
        return Stored(values, "float32", 1.0)
    if upright.mode == "I":
        bits, signed = tags.get(BITS, (32,))[0], tags.get(SAMPLE_FORMAT, (1,))[0] == 2
        values = values if signed else values.view(np.uint32)
        return _limited(Stored(values, f"{'int' if signed else 'uint'}{bits}", None), tags)
    if upright.mode not in EIGHT_BITS:
        raise DataError(f"{name}: pixels of kind {upright.mode}. Save it as 8- or 16-bit PNG.")
    kind = "bool" if upright.mode == "1" else "uint8"
    plain = Stored(_opaque(np.asarray(_simple(upright)), 255, name), kind, 255.0)
    return _limited(plain, tags if upright.mode in ("L", "RGB") else {})


def _limited(stored: Stored, tags: Any) -> Stored:
    """With the largest value that the tags of a TIFF file state, where it is less."""
    top = np.max(tags.get(SIGNED_HIGHEST, tags.get(HIGHEST, 0)))
    if not 0 < top < (stored.high or np.inf):
        return stored
    return stored._replace(high=float(top), by_file=True)


def _netpbm(data: bytes, name: str) -> Stored:
    """Every bit of a binary PGM or PPM file; Pillow rescales to 8 bits, or to 16."""
    found = NETPBM.match(data)
    if found is None:
        raise DataError(
            f"{name}: a PNM file of kind {data[:2].decode('latin-1')}, and P1, P4, P5, P6 and Pf "
            "are read. Save it as PNG."
        )
    magic, width, height, high = map(int, found.groups())
    bands, kind = (1 if magic == 5 else 3), (">u2" if high > 255 else "u1")
    size = height * width * bands * np.dtype(kind).itemsize
    if rest := data[found.end() + size :].strip():
        raise DataError(
            f"{name}: {len(rest)} bytes after the image; another one? Save each as its own file."
        )
    values = np.frombuffer(data, kind, height * width * bands, found.end())
    by_file, native = high not in (255, 65535), np.dtype(kind).newbyteorder("=")
    values = values.astype(native).reshape(height, width, bands)
    return Stored(values, native.name, float(high), by_file)


def _expect_plain_tiff(picture: Pillow.Image, name: str) -> None:
    """Refuse the TIFF files that Pillow decodes wrongly."""
    tags = getattr(picture, "tag_v2", {})
    if not tags:
        return
    bits, deep = tags.get(BITS, (1,)), picture.mode.startswith("I;16")
    samples, wide = tags.get(SAMPLES, 1), picture.mode in ("I", "F")
    other = samples != len(picture.getbands()) or 0 in np.atleast_1d(tags.get(EXTRA, ()))
    wrong = {
        "white stored as 0": (deep or wide) and tags.get(PHOTOMETRIC) == 0,
        f"{bits[0]} bits per pixel": deep and bits[0] not in (8, 16),
        "16-bit colours on separate planes": max(bits) > 8 and tags.get(PLANES) == 2,
        "signed 8-bit values": max(bits) <= 8 and 2 in tags.get(SAMPLE_FORMAT, ()),
        f"{samples} bands": other,
    }
    for what, found in wrong.items():
        if found:
            raise DataError(f"{name}: TIFF with {what}, not read. Save it as 8- or 16-bit PNG.")


def _simple(picture: Pillow.Image) -> Pillow.Image:
    """The same picture as L, LA, RGB or RGBA."""
    if "transparency" in picture.info or picture.mode == "PA":
        return picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in ("L", "LA", "RGB", "RGBA") else picture.convert("RGB")


def _opaque(pixels: np.ndarray, opaque: int, name: str) -> np.ndarray:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[-1] not in (2, 4):
        return pixels
    clear = int((pixels[..., -1] < opaque).sum())
    if clear:
        raise DataError(
            f"{name}: {clear} pixels are transparent, and their colour is unknown. "
            "Save the image without an alpha channel."
        )
    return pixels[..., :-1]
