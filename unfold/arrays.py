"""Arrays in files of NumPy's and MATLAB's, which may come from strangers; bounds of memory."""

import os
import re
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

FREE = 2**26
"""Bytes that a compressed file may unfold to, whatever its own size."""

RATIO = 100
"""How many times its own size a larger compressed file may unfold to."""

COMPRESSED = 15
"""The type of a compressed element of a .mat file. Source: MathWorks, MAT-file format, 2025."""


def free_memory() -> int:
    """Bytes that can be allocated: of the machine, or of the control group of the process."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, TypeError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found.append(1024 * int(re.search(r"MemAvailable:\s+(\d+)", text)[1]))  # type: ignore[index]
    with suppress(OSError, ValueError, TypeError):
        group = Path("/sys/fs/cgroup")
        used = re.search(r"^anon (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        found.append(int((group / "memory.max").read_text()) - int(used[1]))  # type: ignore[index]
    return min(found)


def loadable() -> int:
    """Bytes of the largest file of tensors that is read: half of the free memory."""
    return max(FREE, free_memory() // 2)


def expect_room(size: int) -> None:
    """Raise a `ValueError`, which names no file, where `size` bytes are more than are free."""
    if size > FREE and size > (free := free_memory()):
        raise ValueError(f"it takes {size} bytes of memory, and {free} are free")


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npy or .npz file by name; that of .npy has the name "".

    Nothing is executed: pickled objects are refused. Nothing is allocated beyond what the file
    holds, nor beyond the free memory.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, holds objects, or unfolds to far more than its size.
    """
    if file.suffix.lower() != ".npz":
        # A map of the file, unlike a read, is refused where the header claims more than there is.
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise ValueError("it is an .npz file; name it so")
        expect_room(2 * mapped.nbytes)
        return {"": np.array(mapped)}
    try:
        with zipfile.ZipFile(file) as packed:
            expect_unfolded(file, sum(entry.file_size for entry in packed.infolist()))
            for entry in packed.infolist():
                with packed.open(entry) as member:
                    _expect_claims(member, entry.file_size)
        with np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise ValueError(f"not a complete .npz file ({error})") from error


def parts(path: Path) -> list[Path]:
    """The files that are one: itself, or of a folder, as a store of Zarr is, all in it."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def expect_unfolded(file: Path, size: int, *, at_once: bool = True) -> None:
    """Raise a `ValueError` where a file would unfold to far more than its size, or than is free."""
    own = sum(part.stat().st_size for part in parts(file))
    if size > max(FREE, RATIO * own):
        raise ValueError(f"its {own} bytes would unfold to {size} or more")
    expect_room(2 * size if at_once else 0)


def _expect_claims(member: Any, size: int) -> None:
    """Refuse the header of an array that claims more than its file holds."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0
    shape, _, kind = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(member)
    claimed = kind.itemsize * int(np.prod([float(n) for n in shape]))
    if claimed > size:
        raise ValueError(f"an array of {shape} in {size} bytes")


def expect_matlab(file: Path) -> None:
    """Raise a `ValueError` where the compressed elements of a .mat file unfold to far too much."""
    most = max(FREE, RATIO * file.stat().st_size)
    total = 0
    with file.open("rb") as stream:
        order = ">" if stream.read(128)[126:] == b"MI" else "<"
        while len(tag := stream.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            end = stream.tell() + size
            unpacked = zlib.decompressobj()
            while kind == COMPRESSED and total <= most and stream.tell() < end:
                data = stream.read(min(2**16, end - stream.tell()))
                while data and total <= most:
                    total += len(unpacked.decompress(data, 2**20))
                    data = unpacked.unconsumed_tail
                if not data and stream.tell() >= file.stat().st_size:
                    break
            stream.seek(end)
    expect_unfolded(file, total)
