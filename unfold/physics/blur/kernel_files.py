"""Kernels from values or from a file."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from unfold.array_files import read_named
from unfold.disk import expand
from unfold.errors import ConfigError, DataError
from unfold.physics.blur.kernels import Kernel
from unfold.random import Draws

IMAGES = (".png", ".tif", ".tiff")

LARGEST = 2048
"""Pixels along a side of a kernel in an image file."""


def read_kernels(path: str) -> list[np.ndarray]:
    """Every array of the file; one of three dimensions is a list of tables.

    Raises:
        DataError: the file is missing, of another kind, or cannot be read.
    """
    file = expand(path, "KernelFile.path")
    if file.suffix.lower() in IMAGES:
        try:
            return _image(file)
        # Pillow raises errors of many kinds where bytes make no sense.
        except Exception as error:
            raise DataError(f"{path}: cannot be read as a kernel: {error}.") from error
    arrays = list(read_named(file).values())
    if not arrays:
        raise DataError(f"{path}: holds no array; save at least one kernel.")
    return [table for array in arrays for table in (array if array.ndim == 3 else [array])]


def _image(file: Path) -> list[np.ndarray]:
    from PIL import Image

    with Image.open(file, formats=("PNG", "TIFF")) as image:
        if max(image.size) > LARGEST:
            raise ValueError(f"{image.size[0]} x {image.size[1]} pixels are no kernel")
        values = np.asarray(image)
        with suppress(EOFError):
            image.seek(1)
            raise ValueError("it has several pages; save the kernel alone")
    return [values]


@dataclass(frozen=True, eq=False)
class FixedKernel(Kernel):
    """h = values / Σ values, the same for every image.

    Args:
        values: (kh, kw), finite, non-negative, odd sizes, not all 0.
    """

    values: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if fault := defect(self.values.detach().cpu().numpy()):
            raise ConfigError(f"FixedKernel.values: {fault}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def sample(self, draws: Draws) -> Tensor:
        """(1, 1, kh, kw); the gradient reaches `values`."""
        h = self.values.to(device=draws.device, dtype=draws.dtype)
        return (h / h.sum())[None, None]


@dataclass(frozen=True, eq=False)
class FixedKernels(Kernel):
    """h_i = values_i / Σ values_i, one for each image of a batch.

    Args:
        values: (B or 1, kh, kw), as those of `FixedKernel`.
    """

    values: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values.requires_grad:
            return  # on its simplex; to read it here would synchronize with the device
        for one in self.values.cpu().numpy():
            if fault := defect(one):
                raise DataError(f"a kernel of the data: {fault}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[-2], self.values.shape[-1]

    @property
    def is_deterministic(self) -> bool:
        return len(self.values) == 1

    def sample(self, draws: Draws) -> Tensor:
        h = self.values.double()
        h = h / h.sum((-2, -1), keepdim=True)
        return h.to(device=draws.device, dtype=draws.dtype)[:, None]


@dataclass(frozen=True)
class KernelFile(Kernel):
    """h = the values of a file / their sum; of several kernels, one is sampled for each image.

    Smaller kernels are set in the middle of the largest.

    Args:
        path: an array in .npy, of one kernel or (K, height, width), several in .npz (pickled
            objects are refused), arrays or a cell array in .mat, or a .png or .tif of one channel.
        index: the only kernel to take, from 0; None samples one of all uniformly.
    """

    path: str
    index: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for fault in map(defect, self._all):
            if fault:
                raise DataError(f"{self.path}: {fault}")
        count = len(self._all)
        if self.index is not None and not 0 <= self.index < count:
            raise ConfigError(
                f"KernelFile.index = {self.index}: {self.path} holds {count} kernels, from 0 to "
                f"{count - 1}."
            )

    @cached_property
    def _all(self) -> list[np.ndarray]:
        return read_kernels(self.path)

    @cached_property
    def _values(self) -> np.ndarray:
        """(K, kh, kw), each of sum 1."""
        chosen = self._all if self.index is None else [self._all[self.index]]
        height, width = (max(h.shape[axis] for h in chosen) for axis in (0, 1))
        return np.stack([_centred(h / h.sum(dtype=np.float64), height, width) for h in chosen])

    @property
    def shape(self) -> tuple[int, int]:
        return self._values.shape[1], self._values.shape[2]

    @property
    def is_deterministic(self) -> bool:
        return len(self._values) == 1

    def sample(self, draws: Draws) -> Tensor:
        """(1, 1, kh, kw) where there is one kernel."""
        own = draws.take([0]) if self.is_deterministic else draws
        return own.each("kernel", lambda g, _: self._values[g.integers(len(self._values))])[:, None]


def defect(values: np.ndarray) -> str:
    """Why these values are no blur kernel, with the remedy; empty if they are one."""
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiu":
        return (
            f"a kernel is a table of real numbers, (height, width); got {values.shape} of "
            f"{values.dtype}. Save one channel, or one kernel per file."
        )
    if values.shape[0] % 2 == 0 or values.shape[1] % 2 == 0:
        height, width = values.shape
        return (
            f"a kernel of {height} x {width} pixels has no centre; add a row or a column of zeros "
            "where the size is even."
        )
    if not np.isfinite(values).all():
        return f"{int((~np.isfinite(values)).sum())} of its values are not finite; replace them."
    if values.min() < 0 or values.max() == 0:
        return (
            f"its values go from {values.min():.3g} to {values.max():.3g}; a kernel is "
            "non-negative and not all 0, so that its sum can be made 1."
        )
    return ""


def _centred(values: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = ((size - n) // 2 for size, n in zip((height, width), values.shape, strict=True))
    return np.pad(values, ((rows, rows), (columns, columns)))
