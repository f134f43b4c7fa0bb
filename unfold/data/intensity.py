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


def facts(stored: Stored, name: str, bands: int) -> Facts:
    """Of one file or array."""
    peak = float(np.abs(stored.values).max())
    return Facts(name, stored.kind, stored.high, stored.by_file, peak, bands)


def doubts(found: Iterable[Facts], channels: int, stated: Interval | None) -> list[str]:
    """What cannot be meant, or is not to go without a word, with figures: of files read alike."""
    every = list(found)
    kinds = [] if stated else sorted({one.kind for one in every})
    texts = [t for kind in kinds for t in _scales(kind, [x for x in every if x.kind == kind])]
    if colour := [one.name for one in every if one.bands > channels]:
        how = "0.299 red + 0.587 green + 0.114 blue, because data.channels = 1."
        texts.append(f"{_some(colour)}: colour, read as {how}")
    return texts


def _scales(kind: str, many: Sequence[Facts]) -> list[str]:
    """A maximum that fills few of the bits of the type, or that differs from file to file."""
    name, peak = _some([one.name for one in many]), max(one.peak for one in many)
    highs = sorted({one.high for one in many if one.by_file and one.high})
    if len(highs) > 1:
        return [
            f"{name}: the files state {len(highs)} different values of 1, from {highs[0]:g} to "
            f"{highs[-1]:g}; if that is the maximum of each, set data.intensity_range."
        ]
    largest = {"uint8": 255, "uint16": 65535}.get(kind)
    if highs or largest is None or not 0 < peak <= largest / (2 if largest > 255 else 16):
        return []
    full = next(one for one in FULL if one >= peak)
    return [
        f"{name}: {kind} with no value above {peak:g} of {largest}, "
        f"read as [0, {peak / largest:.4f}]. If {full} is 1, set data.intensity_range=[0, {full}]."
    ]


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files, first {names[0]}"
