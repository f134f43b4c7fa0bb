"""Arrays in files of NumPy's, which may come from strangers."""

import zipfile
from pathlib import Path

import numpy as np

FREE = 2**26
"""Bytes that a compressed file may unfold to, whatever its own size."""

RATIO = 100
"""How many times its own size a larger compressed file may unfold to."""


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npy or .npz file by name; that of .npy has the name "".

    Nothing is executed: pickled objects are refused. Nothing is allocated beyond what the file
    holds.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, holds objects, or unfolds to far more than its size.
    """
    if file.suffix.lower() != ".npz":
        # A map of the file, unlike a read, is refused where the header claims more than there is.
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise ValueError("it is an .npz file; name it so")
        return {"": np.array(mapped)}
    try:
        with zipfile.ZipFile(file) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        if size > max(FREE, RATIO * file.stat().st_size):
            raise ValueError(f"its {file.stat().st_size} bytes would unfold to {size}")
        with np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ValueError(f"not a complete .npz file ({error})") from error
