"""Measurements with the images behind them: `data=pairs`."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfold.array_files import STORES, SUFFIXES, StoredArray, chosen, open_arrays, read_array
from unfold.arrays import expect_unfolded
from unfold.data.example import Example, expect_finite
from unfold.data.files import folder_files
from unfold.data.image_cache import ImageFile
from unfold.data.image_reader import decode_with_facts, read_bytes, suffixes
from unfold.data.intensity import stored_array, to_unit
from unfold.data.measured import MEMORY, MeasuredData
from unfold.data.normalize import scaled
from unfold.disk import expand
from unfold.errors import ConfigError, DataError, listing
from unfold.parameters.bounds import bounded, positive

MEASUREMENT, IMAGE = "measurement", "image"


@dataclass(frozen=True, eq=False, kw_only=True)
class PairsData(MeasuredData):
    """Files of measurements, of images and of parameters of operators, paired by name.

    A folder holds `measurement/` and, where they are known, `image/` and a folder for each
    parameter, such as `kernel/`: files of one name belong together. Or it holds .h5, .zarr or .zip
    files, each with the arrays `measurement`, `image` and parameters, whose first axis counts the
    examples.
    Images and measurements are (C, H, W), or (H, W) of one channel; registration is the user's.

    Args:
        normalize: what images and measurements are divided by, after image files are read as
            intensities in [0, 1].
    """

    normalize: float | int = bounded(1.0, positive)

    reference = "paired image"
    depends = ("channels",)

    @property
    def suffixes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The files that are read."""
        return (*suffixes(), *SUFFIXES, *STORES)

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        places = map(self._measurements, (self.root, self.validation_root, self.test_root))
        root, validation, test = places
        return folder_files(root, validation, test, self.suffixes)

    def _measurements(self, root: str | None) -> str | None:
        """The folder of the measurements, or that of files of HDF5 or Zarr."""
        if root is None:
            return None
        folder = expand(root, "PairsData.root")
        stored = folder.suffix.lower() in STORES
        if not stored and (folder / MEASUREMENT).is_dir():
            return str(folder / MEASUREMENT)
        if stored or any(path for kind in STORES for path in folder.glob(f"*{kind}")):
            return root
        have = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        raise DataError(
            f"PairsData.root = {root}: no folder '{MEASUREMENT}' in it, and no .h5 or .zarr file; "
            f"it has {listing(have[:10])}."
        )

    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        if path.suffix.lower() not in STORES:
            return [self.read(path, 0).kind]
        arrays = self._arrays(path)
        count = arrays[chosen(path, arrays, MEASUREMENT)].shape[0]
        counts = {name: one.shape[0] for name, one in arrays.items()}
        size = sum(prod(one.shape) * one.dtype.itemsize for one in arrays.values())
        expect_unfolded(path, size, at_once=False)
        if len(set(counts.values())) > 1:
            raise DataError(f"{path}: data sets of different lengths, {counts}.")
        return [self.read(path, 0).kind] * count if count else []

    def _arrays(self, path: Path) -> dict[str, StoredArray]:
        return self.opened(path, open_arrays, lambda _: MEMORY // 1024)

    def read(self, path: Path, place: int) -> Example:
        if path.suffix.lower() in STORES:
            arrays = {name: _tensor(a.read(place)) for name, a in self._arrays(path).items()}
        else:
            arrays = {MEASUREMENT: self._intensities(path)}
            beside = path.parent.parent.iterdir() if path.parent.name == MEASUREMENT else ()
            for folder in sorted(beside):
                if folder.is_dir() and folder.name != MEASUREMENT:
                    own = self._partner(path, folder)
                    is_image = folder.name == IMAGE
                    arrays[folder.name] = self._intensities(own) if is_image else _values(own)
        image, measurement = (_channelled(arrays.pop(n, None)) for n in (IMAGE, MEASUREMENT))
        example = Example(image, measurement, arrays, {"file": str(path), "place": place})
        expect_finite(str(path), example)
        if image is not None and image.shape[0] != self.channels:
            raise ConfigError(
                f"{path}: an image of {image.shape[0]} channels, and channels = {self.channels}."
            )
        return scaled(example, float(self.normalize))

    def _partner(self, path: Path, folder: Path) -> Path:
        """The file of the same name, whatever its suffix, in another folder."""
        found = sorted(one for one in folder.glob(f"{path.stem}.*") if one.suffix != ".hdr")
        if len(found) != 1:
            count = "no file" if not found else f"{len(found)} files"
            raise DataError(f"{path}: {count} of this name in {folder}.")
        return found[0]

    def _intensities(self, path: Path) -> Tensor:
        """(C, H, W), of an array or an image file, by the rule of `data.intensity`."""
        if path.suffix.lower() not in SUFFIXES:
            bytes_ = read_bytes(path)
            return decode_with_facts(bytes_, str(path), self.channels, None, bounded=False)[0]
        stored = stored_array(read_array(path))
        return _tensor(to_unit(stored, None, str(path), bounded=False))


def _values(path: Path) -> Tensor:
    """The numbers of a file as they are stored; of an image file, one channel of it."""
    if path.suffix.lower() in SUFFIXES:
        return _tensor(read_array(path))
    return decode_with_facts(read_bytes(path), str(path), 1, None)[0][0]


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "buifc":
        raise DataError(f"an array of {array.dtype} holds no numbers.")
    return torch.from_numpy(array.astype(np.complex64 if array.dtype.kind == "c" else np.float32))


def _channelled(t: Tensor | None) -> Tensor | None:
    """(C, …): an array of two axes has one channel."""
    return t[None] if t is not None and t.ndim == 2 else t
