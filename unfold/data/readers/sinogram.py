"""Files of projections: Data Exchange HDF5, TIFF stacks, NumPy and MATLAB.

Every reader gives the same: rows of line integrals (S, V, D), of V views and D detectors, with the
angles in degrees where the file states them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unfold.array_files import HDF5, SUFFIXES, hdf5, read_array
from unfold.arrays import expect_unfolded
from unfold.data.image_reader import pages, read_bytes, stored_pixels
from unfold.errors import DataError, listing

TIFF = (".tif", ".tiff")
READ = (*HDF5, *TIFF, *SUFFIXES)

MOST_BAD = 0.05
"""The share of readings that may be replaced by those of their neighbours."""


@dataclass(frozen=True)
class Projections:
    """The projections of a file.

    Args:
        values: (S, V, D), counts or line integrals of S rows of detectors, float32.
        flat: the counts without an object, (S, D); None where the values are integrals.
        dark: the counts without a beam, (S, D); None for 0.
        angles: in degrees, (V,), where the file has them.
    """

    values: np.ndarray
    flat: np.ndarray | None = None
    dark: np.ndarray | None = None
    angles: np.ndarray | None = None


def read_projections(
    path: Path, flats: str | None = None, darks: str | None = None, rows: slice = slice(None)
) -> Projections:
    """The projections of a file, with its flat and dark fields, or those of other files.

    Args:
        path: .h5 of Data Exchange; a TIFF stack, a page for each view; or an array (V, D), or
            (S, V, D) of several rows, in .npy, .npz or .mat.
        flats: the file of an array (D,), (n, D), or (n, S, D).
        darks: the same.
        rows: those that are kept; of HDF5 no others are read.

    Raises:
        DataError: the file cannot be read so; says what is in it.
    """
    suffix = path.suffix.lower()
    if suffix in HDF5:
        found, count = _data_exchange(path, rows)
    else:
        values = _tiff(path) if suffix in TIFF else read_array(path)
        if values.ndim not in (2, 3) or values.dtype.kind not in "uif":
            raise DataError(
                f"{path}: {values.dtype} {values.shape}; expected real (views, detectors), or "
                "(rows, views, detectors)."
            )
        whole = values.reshape(-1, *values.shape[-2:])
        whole = whole.swapaxes(0, 1) if suffix in TIFF and values.ndim == 3 else whole
        if whole.dtype.kind in "ui" and flats is None:
            raise DataError(
                f"{path}: whole numbers ({whole.dtype}) are counts, and need the flat field, the "
                "counts without an object: data.flats=FILE; or save line integrals as floats."
            )
        count = len(whole)
        found = Projections(whole[rows].astype(np.float32))
    if not len(found.values):
        raise DataError(f"{path}: {count} rows, and data.rows = [{rows.start}, {rows.stop}].")
    detectors = found.values.shape[-1]
    fields = [None if f is None else _field(f, count, detectors)[rows] for f in (flats, darks)]
    flat, dark = (
        own if own is not None else f
        for own, f in zip(fields, (found.flat, found.dark), strict=True)
    )
    return Projections(found.values, flat, dark, found.angles)


def line_integrals(path: Path, found: Projections) -> np.ndarray:
    """−log((I − dark) / (flat − dark)), (S, V, D); the values themselves where there is no flat.

    A reading that is not finite, or not above the dark field, becomes the mean of its neighbours.

    Raises:
        DataError: more than 5 % of the readings are so.
    """
    values = found.values
    if found.flat is not None:
        dark = np.zeros_like(found.flat) if found.dark is None else found.dark
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (values - dark[:, None]) / (found.flat - dark)[:, None]
            values = np.where(ratio > 0, -np.log(ratio), np.nan)
    bad = ~np.isfinite(values)
    if (share := float(bad.mean())) > MOST_BAD:
        place = np.argwhere(bad)[0].tolist()
        raise DataError(
            f"{path}: {100 * share:.1f} % of the readings are not finite, or not above the dark "
            f"field, the first at (row, view, detector) {place}; at most {100 * MOST_BAD:g} % are "
            "replaced."
        )
    if bad.any():
        detectors = np.arange(values.shape[-1])
        for row, view in {(int(r), int(v)) for r, v, _ in np.argwhere(bad)}:
            line, out = values[row, view], bad[row, view]
            line[out] = np.interp(detectors[out], detectors[~out], line[~out])
    return np.asarray(values, np.float32)


def find_axis(sinogram: np.ndarray, angles: np.ndarray) -> float:
    """Where the axis of rotation is seen, in detectors from the middle (D − 1)/2.

    Of two views half a turn apart one is the other reversed about the axis: the shift at which they
    differ least, to a fraction of a detector, by a parabola through the least sum of squares.

    Args:
        sinogram: (V, D).
        angles: in degrees.

    Raises:
        DataError: no two views are half a turn apart.
    """
    apart = np.abs(np.abs(angles[:, None] - angles) - 180)
    first, second = np.unravel_index(int(apart.argmin()), apart.shape)
    if apart[first, second] > 1.0:
        raise DataError(
            f"no two of the {len(angles)} views are half a turn apart, by which the axis is found; "
            "state it, data.axis=DETECTORS."
        )
    one, other = sinogram[first], sinogram[second][::-1]
    reach = len(one) // 4
    errors = []
    for shift in range(-reach, reach + 1):  # other(j) = one(j + shift), shift = 2 axis
        a, b = (
            one[max(shift, 0) : len(one) + min(shift, 0)],
            other[max(-shift, 0) : len(one) - max(shift, 0)],
        )
        errors.append(float(np.mean((a - b) ** 2)))
    at = int(np.clip(np.argmin(errors), 1, len(errors) - 2))
    left, here, right = errors[at - 1 : at + 2]
    curve = left - 2 * here + right
    part = 0.5 * (left - right) / curve if curve > 0 else 0.0
    return (at - reach + part) / 2


def _data_exchange(path: Path, rows: slice) -> tuple[Projections, int]:
    """Source: De Carlo et al., Scientific data exchange, J. Synchrotron Radiation 21 (2014)."""
    with hdf5(path) as file:
        if "exchange/data" not in file:
            have: list[str] = []
            file.visit(have.append)
            raise DataError(f"{path}: no 'exchange/data'; it has {', '.join(have[:20])}.")
        group = file["exchange"]
        if group["data"].ndim != 3:
            raise DataError(f"{path}: exchange/data of {group['data'].shape}; expected 3 axes.")
        count = group["data"].shape[1]
        counts = np.asarray(group["data"][:, rows], np.float32).swapaxes(0, 1)
        fields = {n: _mean(group[n][:, rows]) for n in ("data_white", "data_dark") if n in group}
        angles = np.asarray(group["theta"], float) if "theta" in group else None
        unit = str(group["theta"].attrs.get("units", "")) if angles is not None else ""
    if angles is not None and "rad" in unit.lower():
        angles = np.rad2deg(angles)
    return Projections(counts, fields.get("data_white"), fields.get("data_dark"), angles), count


def _mean(stored: Any) -> np.ndarray:
    return np.asarray(np.mean(np.asarray(stored, np.float64), 0), np.float32)


def _tiff(path: Path) -> np.ndarray:
    """The pages of a stack as they are stored, (pages, H, W), or (H, W) of one."""
    data, name = read_bytes(path), str(path)
    every = pages(data, name)
    first = stored_pixels(data, name, every[0]).values
    expect_unfolded(path, len(every) * first.nbytes)
    found = [first, *(stored_pixels(data, name, page).values for page in every[1:])]
    if len(shapes := {one.shape for one in found}) > 1 or first.shape[-1] != 1:
        raise DataError(
            f"{path}: pages of {listing(map(str, shapes))}; expected grey, of one size."
        )
    whole = np.stack(found)[..., 0]
    return whole if len(whole) > 1 else whole[0]


def _field(file: str, rows: int, detectors: int) -> np.ndarray:
    """A mean field, (S, D), of one or several exposures."""
    path = Path(file).expanduser()
    found = _tiff(path) if path.suffix.lower() in TIFF else read_array(path)
    if found.shape[-1] != detectors:
        raise DataError(f"{path}: {found.shape}, and projections have {detectors} detectors.")
    if found.ndim == 3 and found.shape[1] == rows:
        return _mean(found)
    return np.broadcast_to(_mean(found.reshape(-1, detectors)), (rows, detectors))
