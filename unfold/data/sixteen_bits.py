"""Colour of 16 bits per channel, of which Pillow keeps the upper 8 only.

Pillow takes one byte of two, which one being told by the end of its raw mode: B (big endian) or
L (little endian). Asked for both in turn, it gives all 16 bits.
"""

import io
import sys

import numpy as np
from jaxtyping import Int64
from PIL import Image as Pillow
from PIL import ImageFile, ImageOps

from unfold.errors import DataError

COLOUR = ("RGB;16", "RGBA;16")
"""Raw modes, but for the byte order, that Pillow can read from either end."""

Values = Int64[np.ndarray, "_ _ _"]


def colour_of_sixteen_bits(picture: Pillow.Image, data: bytes, name: str) -> Values | None:
    """(H, W, 2 to 4), from 0 to 65535: all bits of a deep image, or None if it is not one.

    Args:
        picture: opened and not yet loaded.
        data: the bytes of its file.
        name: of the file, for messages.

    Raises:
        DataError: it is deep, and of a kind that cannot be read exactly.
    """
    raw = _raw_mode(picture)
    if ";16" not in raw or picture.mode.startswith("I"):
        return None
    if "transparency" in picture.info:
        raise DataError(f"{name}: 16-bit colour with a transparent value. Save it without.")
    if raw == "LA;16B":  # its 4 bytes per pixel pass for red, green, blue and alpha
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
    """How the decoder is told to arrange bytes, such as `RGB;16B`; nothing where it is not."""
    if not isinstance(picture, ImageFile.ImageFile) or not picture.tile:
        return ""
    arguments = picture.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _decoded(data: bytes, raw: str) -> Values:
    """The image decoded with another raw mode, upright."""
    picture = Pillow.open(io.BytesIO(data), formats=("PNG", "TIFF"))
    assert isinstance(picture, ImageFile.ImageFile)
    picture.tile = [tile._replace(args=_replaced(tile.args, raw)) for tile in picture.tile]
    return np.asarray(ImageOps.exif_transpose(picture)).astype(np.int64)


def _replaced(arguments: object, raw: str) -> tuple[object, ...] | str:
    return (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw
