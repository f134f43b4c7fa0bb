"""The law of one matrix, read from a file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unfold.errors import DataError, ShapeError
from unfold.physics.array_files import read_arrays
from unfold.physics.law import Physics
from unfold.physics.user import Dense
from unfold.random import Draws
from unfold.typing import Shape

SUFFIXES = (".npy", ".npz", ".safetensors")


@dataclass(frozen=True)
class MatrixPhysics(Physics):
    """y = Mx with noise, x as a vector: pixels row by row and channel by channel.

    The file is read when the law is made, so that a bad one is found before any computation.

    Args:
        noise: added to the measurement.
        path: a real table of m rows in .npy (pickled objects are refused), in .npz as the one
            array, or as `scipy.sparse.save_npz` writes it by rows, or in .safetensors as the one
            tensor.
        shape: (C, H, W) of the images, C · H · W columns.

    Raises:
        DataError: names the file, and what is wrong with it.
    """

    path: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.matrix.shape[1] != int(np.prod(self.shape)):
            raise DataError(
                f"{self.path}: a matrix of {self.matrix.shape[1]} columns does not act on images "
                f"of {self.shape}, which have {int(np.prod(self.shape))} pixels; set physics.shape."
            )

    @cached_property
    def matrix(self) -> Tensor:
        """M, (m, n), in double precision."""
        values = _read(self.path)
        if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiu":
            raise DataError(
                f"{self.path}: a matrix is a table of real numbers; got {values.shape} of "
                f"{values.dtype}."
            )
        if not np.isfinite(values).all():
            raise DataError(f"{self.path}: some entries are not finite; replace them.")
        return torch.from_numpy(values.astype(np.float64))

    @property
    def is_fixed(self) -> bool:
        return True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """The shape given."""
        return self.shape

    def sample(self, draws: Draws, shape: Shape) -> Dense:
        """The same for every image.

        Raises:
            ShapeError: the images are of another shape.
        """
        if shape != self.shape:
            raise ShapeError(
                f"MatrixPhysics: {self.path} acts on images of {self.shape}, got {shape}; set "
                "data.crop, or physics.shape."
            )
        return Dense(self.matrix.to(device=draws.device, dtype=draws.dtype)[None], shape)


def _read(path: str) -> np.ndarray:
    file = Path(path).expanduser()
    if file.suffix not in SUFFIXES:
        raise DataError(
            f"{path}: a matrix is read from {', '.join(SUFFIXES)}, not '{file.suffix}'."
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return _only(path, dict(load_file(file)))
        arrays = read_arrays(file)
        return _sparse(path, arrays) if "indptr" in arrays else _only(path, arrays)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; give its full path.") from error
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path}: cannot be read as a matrix: {error}.") from error


def _only(path: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if len(arrays) != 1:
        raise DataError(f"{path}: holds {len(arrays)} arrays; save the one matrix alone.")
    return next(iter(arrays.values()))


def _sparse(path: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The table behind compressed rows."""
    kind = arrays.get("format", np.array(b"csr")).item()
    if kind not in (b"csr", "csr"):
        raise DataError(f"{path}: a sparse matrix by rows is expected (csr), not {kind!r}.")
    dense = np.zeros(tuple(arrays["shape"]), arrays["data"].dtype)
    rows = np.repeat(np.arange(len(dense)), np.diff(arrays["indptr"]))
    np.add.at(dense, (rows, arrays["indices"]), arrays["data"])
    return dense
