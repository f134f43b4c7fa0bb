"""Files of arrays: NumPy's, MATLAB's and BART's; nothing in them is executed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unfold.arrays import expect_matlab, expect_room, expect_unfolded, read_arrays
from unfold.disk import expand, read_bytes
from unfold.errors import DataError, listing, nearest
from unfold.extras import optional

SUFFIXES = (".npy", ".npz", ".mat", ".cfl")


def read_named(path: str | Path, key: str = "path") -> dict[str, np.ndarray]:
    """Every numeric array of a file by its name, with the axes as the program that wrote it has.

    An .npy file has one array of the name "", a .cfl file the same; a cell of MATLAB's `x` is
    `x[0]`, `x[1]` and so on. Arrays are in memory at once.

    Raises:
        DataError: the file is missing, of another kind, or cannot be read.
    """
    file = expand(path, key)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{file}: arrays are read from {listing(SUFFIXES)}, not '{file.suffix}'.")
    if not file.is_file():
        raise DataError(f"{file}: there is no such file; give its full path.")
    try:
        if suffix == ".cfl":
            return {"": read_cfl(file)}
        found = dict(_matlab(file)) if suffix == ".mat" else read_arrays(file)
    except DataError:
        raise
    # The libraries raise errors of many kinds where bytes make no sense.
    except Exception as error:
        raise DataError(
            f"{file}: cannot be read: {' '.join(str(error).split()).rstrip('.')}."
        ) from error
    return {name: array for name, array in found.items() if array.dtype.kind in "biufc"}


def read_array(path: str | Path, key: str = "path", name: str | None = None) -> np.ndarray:
    """One array of a file: the one of a name, or the only one.

    Raises:
        DataError: as `read_named`; there is no such array, or there are several.
    """
    found = read_named(path, key)
    if name is not None and name in found:
        return found[name]
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    near = nearest(name, found) if name else ""
    wanted = f"no array '{name}'{near}" if name else "one array is expected"
    raise DataError(f"{path}: {wanted}; it has {listing(found)}.")


def read_cfl(file: Path) -> np.ndarray:
    """A BART array, complex64: the header lists its dimensions, the first varies fastest.

    Trailing dimensions of 1 are left out.
    """
    header = file.with_suffix(".hdr")
    try:
        lines = read_bytes(header, 2**16).decode("latin-1").splitlines()
        sizes = next(line for line in lines if line and not line.startswith("#")).split()
        shape = tuple(int(size) for size in sizes)
    except (OSError, StopIteration, ValueError) as error:
        raise DataError(f"{header}: not a header of BART, which {file.name} needs.") from error
    count = int(np.prod([float(n) for n in shape]))
    if min(shape, default=0) < 1 or 8 * count != file.stat().st_size:
        raise DataError(
            f"{file}: {file.stat().st_size} bytes, and its header of {list(shape)} needs "
            f"{8 * count}."
        )
    try:
        expect_room(2 * 8 * count)
    except ValueError as error:
        raise DataError(f"{file}: {error}.") from error
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return np.fromfile(file, np.complex64, count).reshape(shape, order="F")


def _matlab(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    with file.open("rb") as opened:
        is_hdf5 = b"MATLAB 7.3" in opened.read(128)
    if not is_hdf5:
        expect_matlab(file)
        stored = optional("scipy.io", "io").loadmat(file)
        for name in sorted(name for name in stored if not name.startswith("__")):
            yield from _cells(name, stored[name])
        return
    with optional("h5py", "io").File(file, "r") as stored:
        sizes: list[int] = []
        stored.visititems(lambda _, one: sizes.append(getattr(one, "nbytes", 0)))
        expect_unfolded(file, sum(sizes))
        for name in sorted(set(stored) - {"#refs#"}):
            yield from _hdf5(stored, name)


def _cells(name: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if values.dtype != object:
        yield name, values
        return
    for k, cell in enumerate(values.ravel()):
        yield f"{name}[{k}]", np.asarray(cell)


def _hdf5(stored: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """MATLAB writes columns first, complex numbers as pairs, and cells as references."""
    if not hasattr(stored[name], "shape"):  # a group: a struct, which is no array
        return
    values = stored[name][()]
    cells = [stored[cell][()] for cell in values.ravel()] if values.dtype == object else [values]
    for k, cell in enumerate(cells):
        one = complex_of(np.asarray(cell).T)
        yield (f"{name}[{k}]" if values.dtype == object else name), one


def complex_of(values: np.ndarray) -> np.ndarray:
    """Complex numbers where the values are pairs of MATLAB's; else as they are."""
    if values.dtype.names and set(values.dtype.names) == {"real", "imag"}:
        return np.asarray(values["real"] + 1j * values["imag"])
    return values
