"""Kernels that are given: a tensor, or a file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, DataError
from unfold.physics.kernels import Kernel
from unfold.random import Draws

IMAGES = (".png", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class FixedKernel(Kernel):
    """h = values / Σ values, the same for every image.

    Args:
        values: (kh, kw), finite, non-negative, odd sizes, not all 0.

    Raises:
        ConfigError: the values are not such a kernel.
    """

    values: Tensor

    def __post_init__(self) -> None:
        fault = what_is_wrong(self.values.detach().cpu().numpy())
        if fault:
            raise ConfigError(f"FixedKernel.values: {fault}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    @property
    def is_fixed(self) -> bool:
        return True

    def draw(self, draws: Draws) -> Tensor:
        """(1, 1, kh, kw); the gradient reaches `values`."""
        h = self.values.to(device=draws.device, dtype=draws.dtype)
        return (h / h.sum())[None, None]


@dataclass(frozen=True)
class KernelFile(Kernel):
    """h = the values of a file / their sum, the same for every image.

    The file is read once, when the law is made, so that a bad one is found before any computation.

    Args:
        path: an array in .npy (pickled objects are refused), or a .png or .tif of one channel.

    Raises:
        DataError: names the file, and what is wrong with it.
    """

    path: str

    def __post_init__(self) -> None:
        fault = what_is_wrong(self._values)
        if fault:
            raise DataError(f"{self.path}: {fault}")

    @cached_property
    def _values(self) -> np.ndarray:
        return _read(self.path)

    @property
    def shape(self) -> tuple[int, int]:
        return self._values.shape[0], self._values.shape[1]

    @property
    def is_fixed(self) -> bool:
        return True

    def draw(self, draws: Draws) -> Tensor:
        """(1, 1, kh, kw)."""
        h = torch.from_numpy(self._values.astype(np.float64) / self._values.sum(dtype=np.float64))
        return h.to(device=draws.device, dtype=draws.dtype)[None, None]


def what_is_wrong(values: np.ndarray) -> str:
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


def _read(path: str) -> np.ndarray:
    """The values in the file, as they are."""
    from PIL import Image, UnidentifiedImageError

    file = Path(path).expanduser()
    if file.suffix.lower() not in (".npy", *IMAGES):
        raise DataError(f"{path}: a kernel is read from .npy, .png or .tif, not '{file.suffix}'.")
    try:
        if file.suffix.lower() == ".npy":
            return np.asarray(np.load(file, allow_pickle=False))
        with Image.open(file) as image:
            return np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such kernel file; give its full path.") from error
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: cannot be read as a kernel: {error}.") from error
