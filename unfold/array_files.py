"""Files of arrays: NumPy's, MATLAB's, BART's, HDF5 and Zarr; nothing in them is executed."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unfold.arrays import expect_matlab, expect_room, expect_unfolded, read_arrays
from unfold.disk import expand, read_bytes
from unfold.errors import DataError, listing, nearest
from unfold.extras import optional

SUFFIXES = (".npy", ".npz", ".mat", ".cfl")
"""Of files whose arrays are read at once."""

HDF5 = (".h5", ".hdf5")
ZARR = (".zarr", ".zip")
STORES = (*HDF5, *ZARR)
"""Of files whose arrays are read part by part: HDF5, and a folder or a zip file of Zarr."""


class StoredArray(NamedTuple):
    """An array of a file.

    shape: its axes, as the program that wrote it has.
    dtype: of its values, as they are stored.
    read: the values at an index, `()` for all; no file stays open, so that workers may fork.
    size: bytes in memory; 0 where parts are read when they are asked for.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Any], np.ndarray]
    size: int = 0


def open_arrays(path: Path) -> dict[str, StoredArray]:
    """The arrays of a file by name, of the suffixes of `SUFFIXES` and `STORES`.

    Raises:
        DataError: as `read_named`. Errors of libraries pass.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":  # a map of the file is refused where its header claims more than it has
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return {"": StoredArray(mapped.shape, mapped.dtype, mapped.__getitem__)}
    if suffix in HDF5 or (suffix == ".mat" and optional("h5py", "io").is_hdf5(path)):
        return _of_hdf5(path)
    if suffix in ZARR:
        with _zarr(path) as group:
            held = {name: (a.shape, a.dtype) for name, a in group.arrays()}
        return {n: StoredArray(*kind, partial(_read_zarr, path, n)) for n, kind in held.items()}
    found = read_named(path).items()
    return {n: StoredArray(a.shape, a.dtype, a.__getitem__, a.nbytes) for n, a in found}


@contextmanager
def _zarr(path: Path) -> Iterator[Any]:
    """The group of a store, a folder or a zip file."""
    zarr = optional("zarr", "io")
    kind = zarr.storage.LocalStore if path.is_dir() else zarr.storage.ZipStore
    with closing(kind(path, read_only=True)) as store:
        yield zarr.open_group(store, mode="r")


def _read_zarr(path: Path, name: str, index: Any) -> np.ndarray:
    with _zarr(path) as group:
        return np.asarray(group[name][index])


@contextmanager
def hdf5(path: Path) -> Iterator[Any]:
    """An open file of HDF5; one that is cut short, or is none, is a `DataError`."""
    try:
        with optional("h5py", "io").File(path, "r") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: not a complete HDF5 file ({error}).") from error


def _of_hdf5(path: Path) -> dict[str, StoredArray]:
    """Arrays of HDF5, or of MATLAB from 7.3, whose axes are in the other order there."""
    is_matlab = path.suffix.lower() == ".mat"

    def read(name: str, index: Any) -> np.ndarray:
        with hdf5(path) as file:
            stored = file[name]
            if is_matlab:
                own = index if isinstance(index, tuple) else (index,)
                rest = (slice(None),) * (stored.ndim - len(own))
                return complex_of(stored[(*own, *rest)[::-1]]).T
            return np.asarray(stored[index])

    with hdf5(path) as file:
        held = {name: (a.shape, a.dtype) for name, a in file.items() if hasattr(a, "shape")}
    return {
        name: StoredArray(shape[::-1] if is_matlab else shape, dtype, partial(read, name))
        for name, (shape, dtype) in held.items()
    }


def chosen(
    path: Path | str,
    have: Collection[str],
    key: str | None = None,
    usual: str = "",
    remedy: str = "",
) -> str:
    """The name of an array: `key`; without it the `usual` one, or the only one.

    Raises:
        DataError: there is no such array, or there are several; `remedy` ends the message.
    """
    wanted = usual if key is None else key
    if wanted in have:
        return wanted
    if len(have) == 1 and (key is None or "" in have):
        return next(iter(have))
    what = f"no array '{wanted}'{nearest(wanted, have)}" if wanted else "one array is expected;"
    raise DataError(f"{path}: {what} It has {listing(have)}{remedy}.")


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


def read_array(path: str | Path, key: str = "path") -> np.ndarray:
    """The only array of a file.

    Raises:
        DataError: as `read_named`; or there are several.
    """
    found = read_named(path, key)
    return found[chosen(path, found)]


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
    with hdf5(file) as stored:
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
