"""One image file as a tensor in [0, 1], without loss of bits.

Gamma and colour profiles are ignored: a value is the stored value, divided by the largest that the
format can store.
"""

import io
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64
from PIL import Image as Pillow
from PIL import ImageFile, ImageOps
from torch import Tensor

from unfold.data.batches import Picture
from unfold.errors import DataError

COLOUR = ("RGB;16", "RGBA;16")
"""Raw modes, without the byte order, that Pillow reads in both byte orders."""

Values = Int64[np.ndarray, "_ _ _"]


def sixteen_bit_colour(picture: Pillow.Image, data: bytes, name: str) -> Values | None:
    """(H, W, 2 to 4), from 0 to 65535: all bits of a 16-bit colour image, or None for others.

    The picture is opened and not yet loaded; `data` are the bytes of its file.

    Raises:
        DataError: it is 16-bit, and of a kind that cannot be read exactly.
    """
    raw = _raw_mode(picture)
    if ";16" not in raw or picture.mode.startswith("I"):
        return None
    if "transparency" in picture.info:
        raise DataError(f"{name}: 16-bit colour with a transparent value. Save it without.")
    if raw == "LA;16B":  # decoded as red, green, blue and alpha: 4 bytes per pixel
        values = _decoded(data, "RGBA")
        return _joined(values[..., 0::2], values[..., 1::2])
    kind, order = raw[:-1], raw[-1]
    if kind not in COLOUR:
        raise DataError(f"{name}: 16-bit pixels of kind {raw}. Save it as 16-bit RGB or grey PNG.")
    native = "L" if sys.byteorder == "little" else "B"
    high = native if order == "N" else order
    low = "L" if high == "B" else "B"
    return _joined(_decoded(data, kind + high), _decoded(data, kind + low))


def _joined(high: Values, low: Values) -> Values:
    values: Values = 256 * high + low
    return values


def _raw_mode(picture: Pillow.Image) -> str:
    """The raw mode of the decoder, such as `RGB;16B`; empty where there is none."""
    if not isinstance(picture, ImageFile.ImageFile) or not picture.tile:
        return ""
    arguments = picture.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _decoded(data: bytes, raw: str) -> Values:
    """The image decoded with another raw mode, upright."""
    picture = Pillow.open(io.BytesIO(data), formats=("PNG", "TIFF"))
    assert isinstance(picture, ImageFile.ImageFile)
    picture.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in picture.tile
    ]
    return np.asarray(ImageOps.exif_transpose(picture)).astype(np.int64)


FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""The formats that are read; no others are tried."""

LARGEST = 2**26
"""The most pixels of an image: 8192 x 8192."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue. Source: Recommendation ITU-R BT.601-7, section 2.5.1, 2011."""

EIGHT_BITS = ("1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pixel modes that Pillow converts to red, green, blue and alpha without loss."""

BITS, PHOTOMETRIC, PLANES = 258, 262, 284
"""TIFF tags: bits per sample, photometric interpretation, planar configuration. Source: Adobe,
TIFF Revision 6.0, section 8, 1992."""

Pixels = Float64[np.ndarray, "_ _ _"]


def read_image(path: Path, channels: int) -> Picture:
    """(channels, H, W), float32 in [0, 1]: the image in a file, rotated as its EXIF data say.

    Args:
        path: a PNG, JPEG, TIFF or BMP file of one image: grey, RGB, palette, 1 bit or CMYK, 8 or
            16 bits; or a grey TIFF of 32-bit floats in [0, 1].
        channels: 1 for luma, 3 for red, green and blue (three times the same for a grey image).

    Raises:
        DataError: the file is missing, corrupt, transparent, has several pages, more than 8192 x
            8192 pixels, values outside [0, 1] or not finite, or pixels of another kind.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    return decode(data, str(path), channels)


def decode(data: bytes, name: str, channels: int) -> Picture:
    """The image in the bytes of a file; see `read_image`. `name` is for messages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's bomb warning; its error comes below
        picture = _open(data, name)
        _expect_single_and_bounded(picture, name)
        try:
            pixels = _pixels(picture, data, name)
        except DataError:
            raise
        # Pillow's decoders raise errors of many kinds where bytes make no sense.
        except Exception as error:
            raise DataError(f"{name}: corrupt or truncated ({error}). Replace the file.") from error
    _expect_range(pixels, name)
    return _to_channels(pixels, channels)


def _open(data: bytes, name: str) -> Pillow.Image:
    try:
        return Pillow.open(io.BytesIO(data), formats=FORMATS)
    except Pillow.DecompressionBombError as error:
        raise DataError(f"{name}: {error} Scale the image down.") from error
    except Exception as error:
        formats = ", ".join(FORMATS)
        raise DataError(
            f"{name}: not an image that can be read ({len(data)} bytes). "
            f"Expected one of {formats}, with up to 16 bits per channel or grey 32-bit floats."
        ) from error


def _expect_single_and_bounded(picture: Pillow.Image, name: str) -> None:
    width, height = picture.size
    if width * height > LARGEST:
        raise DataError(
            f"{name}: {height}x{width} pixels, more than the limit of {LARGEST}. "
            "Cut the image into parts."
        )
    pages = getattr(picture, "n_frames", 1)  # Pillow has it on formats with pages only
    if pages > 1:
        raise DataError(f"{name}: {pages} pages; expected one. Save each as its own file.")


def _pixels(picture: Pillow.Image, data: bytes, name: str) -> Pixels:
    """(H, W, 1 to 4), in [0, 1] unless a float file says otherwise; alpha is dropped if opaque."""
    _expect_plain_tiff(picture, name)
    exact = sixteen_bit_colour(picture, data, name)
    if exact is not None:
        return _opaque(exact / 65535.0, name)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16"):
        return _grey(upright, name)
    if upright.mode == "F":
        return np.asarray(upright, dtype=np.float64)[..., None]
    if upright.mode not in EIGHT_BITS:
        raise DataError(f"{name}: pixels of kind {upright.mode}. Save it as 8- or 16-bit PNG.")
    return _opaque(np.asarray(_simple(upright), dtype=np.float64) / 255.0, name)


def _expect_plain_tiff(picture: Pillow.Image, name: str) -> None:
    """Refuse the TIFF files that Pillow decodes wrongly."""
    tags = getattr(picture, "tag_v2", {})  # Pillow has it on TIFF only
    bits, deep = tags.get(BITS, (8,)), picture.mode.startswith("I;16")
    wrong = {
        "white stored as 0": (deep or picture.mode == "F") and tags.get(PHOTOMETRIC) == 0,
        f"{bits[0]} bits per pixel": deep and bits[0] not in (8, 16),
        "16-bit colours on separate planes": max(bits) > 8 and tags.get(PLANES) == 2,
    }
    for what, found in wrong.items():
        if found:
            raise DataError(f"{name}: TIFF with {what}, not read. Save it as 8- or 16-bit PNG.")


def _grey(picture: Pillow.Image, name: str) -> Pixels:
    if "transparency" in picture.info:
        raise DataError(f"{name}: 16-bit grey with a transparent value. Save it without.")
    return np.asarray(picture).astype(np.float64)[..., None] / 65535.0


def _simple(picture: Pillow.Image) -> Pillow.Image:
    """The same picture as L, LA, RGB or RGBA."""
    if "transparency" in picture.info or picture.mode == "PA":
        return picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in ("L", "LA", "RGB", "RGBA") else picture.convert("RGB")


def _opaque(pixels: np.ndarray, name: str) -> Pixels:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[-1] not in (2, 4):
        return pixels
    clear = int((pixels[..., -1] < 1.0).sum())
    if clear:
        raise DataError(
            f"{name}: {clear} pixels are transparent, and their colour is unknown. "
            "Save the image without an alpha channel."
        )
    return pixels[..., :-1]


def _expect_range(pixels: Pixels, name: str) -> None:
    wrong = int((~np.isfinite(pixels)).sum())
    if wrong:
        raise DataError(f"{name}: {wrong} of {pixels.size} values are NaN or infinite.")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0.0 or high > 1.0:
        raise DataError(
            f"{name}: values from {low:.6g} to {high:.6g}, expected [0, 1]. Rescale the file."
        )


def _to_channels(pixels: Pixels, channels: int) -> Picture:
    if channels == 1 and pixels.shape[-1] == 3:
        pixels = (pixels @ np.asarray(LUMA))[..., None]
    if channels == 3 and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    image: Tensor = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
    return image.clamp(0.0, 1.0).contiguous()
