"""Files of images: NIfTI, DICOM, NumPy, MATLAB, HDF5, Zarr, and image files of several pages.

Every reader gives the same: how many images a file has, and each as it is stored, (H, W, C).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from unfold.array_files import STORES, SUFFIXES, StoredArray, chosen, open_arrays
from unfold.arrays import expect_room, expect_unfolded
from unfold.data.files import suffix_of
from unfold.data.image_reader import pages, read_bytes, stored_pixels, suffixes
from unfold.data.intensity import Stored, stored_array
from unfold.errors import DataError, listing
from unfold.extras import optional

NIFTI = (".nii", ".nii.gz")
ARRAYS = (".npy", ".npz", ".mat")

COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422")
"""Photometric interpretations of DICOM that are read, as grey or as red, green and blue."""


def read_suffixes() -> tuple[str, ...]:
    """Suffixes of files, besides those of DICOM, that have images."""
    return (*NIFTI, *STORES, *ARRAYS, *suffixes())


@dataclass(frozen=True)
class Stack:
    """The images of a file.

    Args:
        count: how many.
        read: one of them, as it is stored.
        metadata: of all.
        size: bytes in memory; 0 where each image is read when it is asked for.
        negative: whether 0 is white.
    """

    count: int
    read: Callable[[int], Stored]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    negative: bool = False


@dataclass(frozen=True)
class Layout:
    """What a file of an array does not say.

    Args:
        channels: of its images, 1 or 3.
        key: the name of the array; None for the only one.
        stack: the axis along which images of one channel lie.
        dicom: suffixes of DICOM files; "" for files without one.
        window: whether intensities are those of the window that a DICOM file states.
    """

    channels: int
    key: str | None = None
    stack: int = 0
    dicom: Sequence[str] = (".dcm",)
    window: bool = False


def open_stack(path: Path, layout: Layout) -> Stack:
    """The images of a file, of the formats that are named above.

    Raises:
        DataError: the file cannot be read so; says what is in it. Errors of libraries pass.
    """
    suffix = suffix_of(path)
    if suffix in layout.dicom:
        return _dicom(path, window=layout.window)
    if suffix in NIFTI:
        return _nifti(path)
    if suffix in (*STORES, *SUFFIXES):
        arrays = open_arrays(path)
        name = chosen(path, arrays, layout.key, remedy="; name it by data.key")
        return _of_array(path, arrays[name], layout)
    data = read_bytes(path)
    every = pages(data, str(path))
    return Stack(len(every), lambda i: stored_pixels(data, str(path), every[i]), size=len(data))


def _of_array(path: Path, array: StoredArray, layout: Layout) -> Stack:
    """The images of an array (H, W), (C, H, W), (S, H, W) or (S, C, H, W)."""
    shape, read = array.shape, array.read
    expect_unfolded(path, prod(shape) * array.dtype.itemsize, at_once=False)
    axes, channels = len(shape), layout.channels
    colour = channels == 3 and axes == 3 and shape[0] == 3
    if axes not in (2, 3, 4) or 0 in shape or (axes == 4 and shape[1] not in (1, channels)):
        raise DataError(
            f"{path}: an array of {tuple(shape)}; expected (H, W), (channels, H, W), (images, H, "
            f"W), or (images, channels, H, W), of {channels} channels."
        )
    axis = 0 if axes == 4 else layout.stack % axes
    one = axes == 2 or colour
    expect_room(8 * prod(shape) // (1 if one else shape[axis]))

    def image(place: int) -> Stored:
        values = np.asarray(read(() if one else (slice(None),) * axis + (place,)))
        return stored_array(values[..., None] if values.ndim == 2 else np.moveaxis(values, 0, -1))

    return Stack(1 if one else shape[axis], image, size=array.size)


def _nifti(path: Path) -> Stack:
    """Slices across the third axis, and of all times, each as it is stored.

    Index i is that of rows and j of columns, without a rotation, so that the affine remains true.
    """
    volume = optional("nibabel", "io").load(path)
    values, shape = volume.dataobj, (*volume.shape, 1)
    if len(volume.shape) < 2 or volume.get_data_dtype().names or 0 in shape:
        raise DataError(f"{path}: {volume.get_data_dtype()} {volume.shape}; expected grey slices.")
    packed, rest = path.suffix.lower() == ".gz", shape[2:]
    size = prod(shape) * volume.get_data_dtype().itemsize
    expect_unfolded(path, size, at_once=packed)
    if packed:  # one slice costs as much as all
        values = np.asarray(values)

    def image(place: int) -> Stored:
        index = np.unravel_index(place, rest, order="F")[: values.ndim - 2]
        found = np.asarray(values[(slice(None), slice(None), *map(int, index))])
        return stored_array(found[..., None])

    metadata = {"affine": volume.affine.tolist()}
    return Stack(prod(rest), image, metadata, values.nbytes if packed else 0)


def _dicom(path: Path, *, window: bool) -> Stack:
    """Frames, rescaled where the file says how, as by files of MR it may not.

    Source: DICOM PS3.3, C.7.6.3 for pixels, C.11.1 for the rescale, C.11.2.1 for the window.
    """
    pydicom = optional("pydicom", "io")
    data = pydicom.dcmread(path)
    if "PixelData" not in data:
        raise DataError(f"{path}: no pixels; {data.get('Modality', 'of no modality')}.")
    kind, bits = str(data.PhotometricInterpretation), int(data.BitsStored)
    frames, bands = int(data.get("NumberOfFrames") or 1), int(data.SamplesPerPixel)
    size = frames * data.Rows * data.Columns * bands * data.BitsAllocated // 8
    expect_unfolded(path, size)
    if kind not in COLOURS:
        raise DataError(f"{path}: pixels of kind {kind}; {listing(COLOURS)} are read.")
    pixels = pydicom.pixels.pixel_array(data).reshape(frames, data.Rows, data.Columns, bands)

    def image(place: int) -> Stored:
        parts = _groups(data, place)
        own = next((part for part in parts if "RescaleSlope" in part), data)
        rescaled = pydicom.pixels.apply_rescale(pixels[place], own)
        if window:
            part = next((part for part in parts if "WindowWidth" in part), None)
            return Stored(_windowed(path, rescaled, part), "float64", 1.0)
        if rescaled is not pixels[place] and rescaled.dtype.kind == "f":
            return stored_array(rescaled)
        high, by_file = float(2**bits - 1), bits not in (8, 16)
        unsigned = rescaled.dtype.kind == "u"
        return Stored(rescaled, rescaled.dtype.name, high if unsigned else None, by_file)

    stated = [part.PixelSpacing for part in _groups(data, 0) if part.get("PixelSpacing")]
    spacing = [float(v) for v in stated[0]] if stated else []
    metadata = {"spacing": spacing} if spacing else {}
    return Stack(frames, image, metadata, pixels.nbytes, kind == "MONOCHROME1")


def _groups(data: Any, place: int) -> list[Any]:
    """The data set, and what it says of one frame: where a rescale, a window, a size may be."""
    shared = data.get("SharedFunctionalGroupsSequence") or []
    own = (data.get("PerFrameFunctionalGroupsSequence") or [])[place : place + 1]
    names = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")
    inner = [part for group in (*own, *shared) for n in names for part in group.get(n) or ()]
    return [*inner, data]


def _windowed(path: Path, values: np.ndarray, part: Any) -> np.ndarray:
    """Intensities in [0, 1] of the first window that is stated."""
    function = str(part.get("VOILUTFunction", "LINEAR")) if part is not None else "none"
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise DataError(f"{path}: a window is expected (its kind: {function}); data.window=false.")
    centre, width = (np.atleast_1d(part[n].value)[0] for n in ("WindowCenter", "WindowWidth"))
    less = 1.0 if function == "LINEAR" else 0.0
    scaled = (values - (float(centre) - less / 2)) / max(float(width) - less, 1e-9) + 0.5
    return np.asarray(np.clip(scaled, 0.0, 1.0))
