"""The arrays in a file of kernels, as they are."""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unfold.errors import DataError
from unfold.physics.array_files import read_arrays

ARRAYS = (".npy", ".npz", ".mat")
IMAGES = (".png", ".tif", ".tiff")

LARGEST = 2048
"""Pixels along a side of a kernel in an image file."""


def read_kernels(path: str) -> list[np.ndarray]:
    """Every array of the file; one of three dimensions is a list of tables.

    Raises:
        DataError: the file is missing, of another kind, or cannot be read.
    """
    from PIL import UnidentifiedImageError

    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    if suffix not in (*ARRAYS, *IMAGES):
        raise DataError(
            f"{path}: a kernel is read from .npy, .npz, .mat, .png or .tif, not '{file.suffix}'."
        )
    try:
        found = _image(file) if suffix in IMAGES else _tables(_arrays(file, suffix))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such kernel file; give its full path.") from error
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: cannot be read as a kernel: {error}.") from error
    if not found:
        raise DataError(f"{path}: holds no array; save at least one kernel.")
    return found


def _image(file: Path) -> list[np.ndarray]:
    from PIL import Image

    try:
        with Image.open(file, formats=("PNG", "TIFF")) as image:
            if max(image.size) > LARGEST:
                raise ValueError(f"{image.size[0]} x {image.size[1]} pixels are no kernel")
            return [np.asarray(image)]
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error


def _arrays(file: Path, suffix: str) -> list[np.ndarray]:
    if suffix == ".mat":
        return _matlab(file)
    return list(read_arrays(file).values())


def _tables(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
    return [table for values in arrays for table in (values if values.ndim == 3 else [values])]


def _matlab(file: Path) -> list[np.ndarray]:
    """Numeric variables and the cells of cell arrays, by the names of the variables."""
    with file.open("rb") as opened:
        is_hdf5 = b"MATLAB 7.3" in opened.read(128)
    if is_hdf5:
        with _package("h5py", file).File(file, "r") as stored:
            return [
                table for name in sorted(set(stored) - {"#refs#"}) for table in _hdf5(stored, name)
            ]
    stored = _package("scipy.io", file).loadmat(file)
    variables = [stored[name] for name in sorted(stored) if not name.startswith("__")]
    cells = [list(v.ravel()) if v.dtype == object else [v] for v in variables]
    return [np.asarray(cell) for several in cells for cell in several]


def _hdf5(stored: Any, name: str) -> Iterator[np.ndarray]:
    """MATLAB writes columns first, and the cells of an array as references."""
    values = stored[name][()]
    cells = [stored[cell][()] for cell in values.ravel()] if values.dtype == object else [values]
    for cell in cells:
        yield np.asarray(cell).T


def _package(name: str, file: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise DataError(
            f"{file}: this .mat file is read with the package {package}, which is not installed: "
            f"pip install {package}, or save the kernels as .npz."
        ) from error
