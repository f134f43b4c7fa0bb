"""Which stored value is 0 and which is 1: one rule for folders, photographs, arrays, measurements.

    intensity = (stored − low) / (high − low)

`data.intensity_range = [low, high]` states both. Without it, low is 0, and high the largest value
of an unsigned type of 8 or 16 bits, 1 for 1 bit and for floats, the maxval of a PGM or PPM file, or
less where a TIFF file states it (SMaxSampleValue, MaxSampleValue). The sBIT of a PNG file changes
nothing: its samples fill their type. Other types have no 1 of their own, and are refused.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unfold.errors import DataError

Interval = tuple[float, float]

FULL = (1, 255, 1023, 4095, 16383, 65535)
"""The values of 1 that detectors have."""


class Stored(NamedTuple):
    """Values as they are stored: their type, and what the type or the file says is 1."""

    values: np.ndarray
    kind: str
    high: float | None
    by_file: bool = False


class Facts(NamedTuple):
    """What identifies a doubtful scale: that of `Stored`, the largest value, and the channels."""

    name: str
    kind: str
    high: float | None
    by_file: bool
    peak: float
    bands: int


def stored_array(array: np.ndarray) -> Stored:
    """An array; the values of its type are those of files."""
    high = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0}.get(array.dtype.name)
    return Stored(array, array.dtype.name, 1.0 if array.dtype.kind in "fc" else high)


def to_unit(
    stored: Stored, stated: Interval | None, name: str, *, bounded: bool = True
) -> np.ndarray:
    """Intensities in double precision; see above.

    Args:
        stored: the values.
        stated: (low, high), or None.
        name: of the file, for messages.
        bounded: whether values outside [low, high] are refused: of images, not of measurements.

    Raises:
        DataError: values are not finite or outside, or nothing says which of them is 1.
    """
    values = stored.values.astype(np.complex128 if stored.kind.startswith("comp") else np.float64)
    wrong = int((~np.isfinite(values)).sum())
    if wrong or not values.size:
        raise DataError(f"{name}: {wrong} of {values.size} values are NaN or infinite.")
    size = values if values.dtype.kind == "f" else np.abs(values)
    found = f"values from {size.min():.6g} to {size.max():.6g}"
    high = next((one for one in FULL if one >= size.max()), float(size.max()))
    remedy = f"Say which are 0 and 1, such as data.intensity_range=[0, {high:g}]."
    if stated is None and stored.high is None:
        raise DataError(
            f"{name}: {stored.kind}, {found}; the type does not say which is 1. {remedy}"
        )
    low, high = stated or (0.0, float(stored.high or 1))
    if bounded and (size.min() < low or size.max() > high):
        raise DataError(f"{name}: {found}, expected [{low:g}, {high:g}]. {remedy}")
    return np.asarray((values - low) / (high - low))


LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue. Source: Recommendation ITU-R BT.601-7, section 2.5.1, 2011."""


def to_channels(pixels: np.ndarray, channels: int) -> Tensor:
    """(channels, H, W), single precision, of (H, W, 1 or 3): luma, or three times the same."""
    if channels == 1 and pixels.shape[-1] == 3:
        pixels = (pixels @ np.asarray(LUMA))[..., None]
    if channels == 3 and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    single = np.complex64 if pixels.dtype.kind == "c" else np.float32
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(single))


def facts(stored: Stored, name: str, bands: int) -> Facts:
    """Of one file or array."""
    peak = float(np.abs(stored.values).max())
    return Facts(name, stored.kind, stored.high, stored.by_file, peak, bands)


def doubts(found: Iterable[Facts], channels: int, stated: Interval | None) -> list[str]:
    """What cannot be meant, or is not to go without a word, with figures: of files read alike."""
    every = list(found)
    texts = []
    for kind in sorted({one.kind for one in every}):
        alike = [one for one in every if one.kind == kind]
        texts += _faint(kind, alike, stated[1]) if stated else _scales(kind, alike)
    if colour := [one.name for one in every if one.bands > channels]:
        how = "0.299 red + 0.587 green + 0.114 blue, because data.channels = 1."
        texts.append(f"{_some(colour)}: colour, read as {how}")
    return texts


def _faint(kind: str, many: Sequence[Facts], high: float) -> list[str]:
    """Files that reach, or can reach, few of the values of a range that is stated."""
    top = LARGEST.get(kind, high) if kind.startswith("uint") else high
    few = [x for x in many if 0 < x.peak < high / 16 or 0 < top < high / 16]
    if not few:
        return []
    return [
        f"{_some([x.name for x in few])}: {kind} with no value above {max(x.peak for x in few):g}, "
        f"and data.intensity_range says that {high:g} is 1. Give these files a range of their own."
    ]


LARGEST = {"uint8": 255.0, "uint16": 65535.0, "float16": 1.0, "float32": 1.0, "float64": 1.0}
"""The value of 1 of a type, where no file states another."""


def _scales(kind: str, many: Sequence[Facts]) -> list[str]:
    """A maximum that fills few of the bits of the type, or that differs from file to file."""
    highs, largest = sorted({x.high for x in many if x.by_file and x.high}), LARGEST.get(kind)
    if len(highs) > 1:
        return [
            f"{_some([x.name for x in many])}: the files state {len(highs)} different values of 1, "
            f"from {highs[0]:g} to {highs[-1]:g}; if that is the maximum of each, set "
            "data.intensity_range."
        ]
    plain = [x for x in many if not x.by_file and x.peak > 0]
    if largest is None or not plain:
        return []
    # Of 16 bits, all files together fill half, and each one a quarter: detectors have 10 to 14.
    deep = largest > 255
    if max(x.peak for x in plain) > largest / (2 if deep else 16):
        plain = [x for x in plain if x.peak <= largest / (4 if deep else 16)]
    if not plain:
        return []
    peak = max(x.peak for x in plain)
    full = next(one for one in FULL if one >= peak) if largest > 1 else float(f"{peak:.4g}")
    return [
        f"{_some([x.name for x in plain])}: {kind} with no value above {peak:g} of {largest:g}, "
        f"read as [0, {peak / largest:.4f}]. If {full:g} is 1, set data.intensity_range="
        f"[0, {full:g}]."
    ]


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files, first {names[0]}"
