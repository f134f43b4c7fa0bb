"""Files of measured frequencies: fastMRI, ISMRMRD, BART, NumPy and MATLAB.

Every reader gives the same: slices of shape (J, H, W), complex, of J coils, the first frequencies
and the images centred, k = fftshift F ifftshift x with F orthonormal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unfold.array_files import HDF5, SUFFIXES, chosen, hdf5, read_named
from unfold.errors import DataError
from unfold.extras import optional

READ = (*HDF5, *SUFFIXES)
REMEDY = "; name the frequencies by data.key"

FLAGS = {
    "noise": 19,
    "calibration alone": 20,
    "navigator": 23,
    "phase correction": 24,
    "feedback": 28,
    "dummy": 29,
    "real-time feedback": 30,
}
"""Bits of ISMRMRD, from 1, of acquisitions that are no lines of an image."""


@dataclass(frozen=True)
class Scan:
    """A file of frequencies.

    Args:
        path: of the file.
        slices: how many.
        shape: of one slice, (J, H, W).
        arrays: what the file holds besides, by name.
        stored: the frequencies, (S, J, H, W), where they are in memory.
        name: of their data set in an HDF5 file, which is read slice by slice.
        header: of the file, as text by name.
    """

    path: Path
    slices: int
    shape: tuple[int, int, int]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    stored: np.ndarray | None = None
    name: str = ""
    header: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        held = [*self.arrays.values(), *([] if self.stored is None else [self.stored])]
        return sum(array.nbytes for array in held)

    def named(self, name: str, option: str) -> np.ndarray:
        """An array of the file by the name that an option states; a `DataError` without it."""
        return np.asarray(
            self.arrays[chosen(self.path, self.arrays, name, remedy=f"; set {option}")]
        )

    def read(self, place: int) -> np.ndarray:
        """One slice, (J, H, W), complex64; no file stays open, so that workers may fork."""
        if self.stored is not None:
            return np.asarray(self.stored[place], np.complex64)
        with hdf5(self.path) as file:
            found = np.asarray(file[self.name][place], np.complex64)
        return found if found.ndim == 3 else found[None]


def open_scan(path: Path, key: str | None = None, *, volume: bool = False) -> Scan:
    """The frequencies of a file.

    Args:
        path: .h5 of fastMRI or ISMRMRD, .cfl of BART, or an array (H, W), (J, H, W) or
            (S, J, H, W) in .npy, .npz or .mat.
        key: the name of the array; None for `kspace`, or the only one.
        volume: whether an array of four axes is (J, X, H, W), encoded along X as well.

    Raises:
        DataError: the file cannot be read so; says what is in it.
    """
    suffix = path.suffix.lower()
    if suffix in HDF5:
        return _hdf5(path, key)
    named = read_named(path)
    kspace = named[chosen(path, named, key, "kspace", REMEDY)]
    rest = {name: array for name, array in named.items() if array is not kspace}
    if suffix == ".cfl":
        return _of_array(path, _bart(path, kspace), rest, volume=False)
    return _of_array(path, kspace, rest, volume=volume)


def _of_array(
    path: Path, kspace: np.ndarray, rest: Mapping[str, np.ndarray], *, volume: bool
) -> Scan:
    if kspace.dtype.kind != "c":
        raise DataError(f"{path}: the frequencies are {kspace.dtype}, and complex is expected.")
    if kspace.ndim not in (2, 3, 4):
        raise DataError(
            f"{path}: frequencies of {kspace.shape}; expected (H, W), (coils, H, W) or "
            "(slices, coils, H, W)."
        )
    whole = kspace.reshape(*[1] * (4 - kspace.ndim), *kspace.shape)
    if volume:  # (J, X, H, W): slices are images along X
        whole = centred_inverse(whole, (1,)).swapaxes(0, 1)
    slices, *shape = whole.shape
    return Scan(path, slices, (shape[0], shape[1], shape[2]), rest, whole)


def _bart(path: Path, kspace: np.ndarray) -> np.ndarray:
    """(S, J, H, W) of BART's (X, Y, Z, J): an axis of one entry is that of the slices.

    Source: BART, dimensions READ, PHS1, PHS2 and COIL.
    """
    if kspace.ndim > 4:
        raise DataError(f"{path}: dimensions {kspace.shape}; expected (x, y, z, coils).")
    x, y, z, coils = kspace.shape + (1,) * (4 - kspace.ndim)
    whole = kspace.reshape(x, y, z, coils)
    if z == 1 and x > 1:
        return whole.transpose(2, 3, 0, 1)
    # A volume: slices across the readout, whose transform has no missing lines.
    slices = centred_inverse(whole, (0,)) if x > 1 else whole
    return np.ascontiguousarray(slices.transpose(0, 3, 1, 2))


def centred_inverse(k: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """x = fftshift F⁻¹ ifftshift k, F orthonormal, along some axes."""
    moved = np.fft.ifftshift(k, axes)
    return np.asarray(np.fft.fftshift(np.fft.ifftn(moved, axes=axes, norm="ortho"), axes), k.dtype)


def _hdf5(path: Path, key: str | None) -> Scan:
    with hdf5(path) as file:
        if "dataset/data" in file and key is None:
            return _ismrmrd(path, file)
        arrays = {name: one for name, one in file.items() if hasattr(one, "shape")}
        found = arrays[chosen(path, arrays, key, "kspace", REMEDY)]
        if found.dtype.kind != "c" or found.ndim not in (3, 4):
            raise DataError(
                f"{path}: '{found.name[1:]}' is {found.dtype} {found.shape}; expected complex "
                "(slices, H, W) or (slices, coils, H, W)."
            )
        small = ("mask", "maps", "sensitivity_map", "noise")
        rest = {n: np.asarray(arrays[n]) for n in small if n in arrays}
        text = {name: str(value) for name, value in file.attrs.items()}
        slices, *shape = found.shape
        full = (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, shape[0], shape[1])
        return Scan(path, slices, full, rest, name=found.name, header=text)


def _ismrmrd(path: Path, file: Any) -> Scan:
    """A Cartesian acquisition: each line at its place, those of no image left out.

    Source: Inati et al., ISMRM raw data format, Magnetic Resonance in Medicine 77 (2017).
    """
    xml = file["dataset/xml"][0]
    header = optional("ismrmrd", "io").xsd.CreateFromDocument(xml)
    if len(header.encoding) != 1 or header.encoding[0].trajectory.value != "cartesian":
        raise DataError(f"{path}: only one Cartesian encoding is read.")
    matrix = header.encoding[0].encodedSpace.matrixSize
    lines = file["dataset/data"]
    heads = lines["head"]
    flags = heads["flags"].astype(np.uint64)
    left = {name: (flags >> np.uint64(bit - 1)) & np.uint64(1) == 1 for name, bit in FLAGS.items()}
    image = ~np.any(list(left.values()), axis=0)
    if not image.any():
        raise DataError(f"{path}: no acquisition of an image among {len(flags)}.")
    coils = int(heads["active_channels"][image][0])
    places = heads["idx"]
    slices = int(places["slice"][image].max()) + 1
    rows, depth = matrix.y, matrix.z
    kspace = np.zeros((slices * depth, coils, rows, matrix.x), np.complex64)
    centre = header.encoding[0].encodingLimits.kspace_encoding_step_1
    shift = rows // 2 - centre.center if centre is not None else 0
    noise = []
    for i, (head, data) in enumerate(zip(heads, lines["data"], strict=True)):
        samples = int(head["number_of_samples"])
        line = np.asarray(data, np.float32).view(np.complex64).reshape(-1, samples)
        if left["noise"][i]:
            noise.append(line)
        if not image[i]:
            continue
        at, row = head["idx"], int(head["idx"]["kspace_encode_step_1"]) + shift
        first = matrix.x // 2 - int(head["center_sample"])
        slot = int(at["slice"]) * depth + int(at["kspace_encode_step_2"])
        if not (0 <= row < rows and first >= 0 and first + samples <= matrix.x):
            raise DataError(
                f"{path}: acquisition {i} is at row {row}, columns {first} to {first + samples}, "
                f"outside of the encoded matrix of {rows} x {matrix.x}."
            )
        kspace[slot, :, row, first : first + samples] = line[:coils]
    if depth > 1:  # a volume: slices across the second phase encoding
        volumes = kspace.reshape(slices, depth, *kspace.shape[1:])
        kspace = centred_inverse(volumes, (1,)).reshape(kspace.shape)
    arrays = {"noise": np.concatenate(noise, 1)} if noise else {}
    # Phase encodings are columns, as those of fastMRI, and the readout runs along them.
    whole = np.ascontiguousarray(kspace.swapaxes(-1, -2))
    return Scan(path, len(whole), (coils, matrix.x, rows), arrays, whole)
