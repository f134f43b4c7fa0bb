"""Measurements by a matrix, read from a file."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from unfold.array_files import read_named
from unfold.arrays import read_arrays
from unfold.disk import expand
from unfold.errors import DataError, ShapeError
from unfold.physics.base import Physics
from unfold.physics.operator import LinearOperator
from unfold.physics.sparse import Entries, Sparse
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape

SUFFIXES = (".npy", ".npz", ".mat", ".safetensors")


@dataclass(frozen=True, eq=False)
class Dense(LinearOperator):
    """Ax = Mx, the pixels row by row and channel by channel.

    Args:
        matrix: M, real or complex, (B or 1, m, C · H · W).
        image_shape: of one image, (C, H, W); one measurement is (m,).
    """

    matrix: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        pixels = torch.Size(self.image_shape).numel()
        if self.matrix.ndim != 3 or self.matrix.shape[2] != pixels or 0 in self.matrix.shape:
            raise ShapeError(
                f"Dense.matrix must be (batch or 1, m, {pixels}) for images of {self.image_shape}, "
                f"got {tuple(self.matrix.shape)}."
            )

    @property
    def measurement_shape(self) -> Shape:
        return (self.matrix.shape[1],)

    def forward(self, x: Image) -> Measurement:
        matrix, v = self._as(x), x.flatten(1)
        if len(matrix) == 1:  # one product of two matrices: a broadcast batch would copy M
            return v @ matrix[0].mT
        return (matrix @ v[..., None])[..., 0]

    def adjoint(self, y: Measurement) -> Image:
        matrix = self._as(y).conj()
        x = y @ matrix[0] if len(matrix) == 1 else (y[:, None] @ matrix)[:, 0]
        return x.reshape(-1, *self.image_shape)

    @cached_property
    def analytic(self) -> Tensor:
        """W, (B or 1, m, n), of min ‖W*M‖ over diag W*M = 1, the Frobenius norm; no gradient.

        w_i = G⁻¹m_i / (m_i* G⁻¹m_i) for each column, with G = MM*; in double precision at first.

        Source: Liu, Chen, Wang and Yin, ALISTA: analytic weights are as good as learned weights in
        LISTA, ICLR 2019, equation 8, whose columns are independent problems.
        """
        with torch.inference_mode(False), torch.no_grad():
            M = self.matrix.to(torch.promote_types(self.matrix.dtype, torch.float64))
            W = torch.linalg.lstsq(M @ M.mH, M).solution
            unit: Tensor = W / (M.conj() * W).sum(1, keepdim=True)
        return unit.to(self.matrix.dtype)

    def _as(self, like: Tensor) -> Tensor:
        return self.matrix.to(torch.promote_types(self.matrix.dtype, like.dtype))


@dataclass(frozen=True)
class MatrixPhysics(Physics):
    """y = Mx with noise, x as a vector: pixels row by row and channel by channel.

    Args:
        path: a real table of m rows in .npy (pickled objects are refused), in .npz or .mat as the
            one array, or as `scipy.sparse.save_npz` writes it by rows, which stays sparse, or in
            .safetensors as the one tensor.
        shape: (C, H, W) of the images, C · H · W columns.
    """

    path: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.matrix.shape[1] != int(np.prod(self.shape)):
            raise DataError(
                f"{self.path}: a matrix of {self.matrix.shape[1]} columns does not act on images "
                f"of {self.shape}, which have {int(np.prod(self.shape))} pixels; change shape."
            )

    @cached_property
    def matrix(self) -> Tensor | Entries:
        """M, (m, n), in double precision; a table of its entries where the file has only those."""
        found = _read(self.path)
        values = found.value if isinstance(found, Entries) else found
        shape = found.shape
        if len(shape) != 2 or 0 in shape or values.dtype.kind not in "fiu":
            raise DataError(
                f"{self.path}: a matrix is a table of real numbers; got {shape} of {values.dtype}."
            )
        if not np.isfinite(values).all():
            raise DataError(f"{self.path}: some entries are not finite; replace them.")
        if isinstance(found, Entries):
            return replace(found, value=values.astype(np.float64))
        return torch.from_numpy(values.astype(np.float64))

    @cached_property
    def _operators(self) -> dict[tuple[torch.dtype, str], Dense]:
        """That of each precision and device, for all batches."""
        return {}

    is_deterministic = True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        return self.shape

    def sample(self, draws: Draws, shape: Shape) -> Dense | Sparse:
        if shape != self.shape:
            raise ShapeError(
                f"MatrixPhysics: {self.path} acts on images of {self.shape}, got {shape}; give "
                "images of that size."
            )
        if isinstance(self.matrix, Entries):
            return Sparse(self.matrix, shape)
        key = draws.dtype, str(draws.device)
        if key not in self._operators:
            with torch.inference_mode(False):  # what it computes once may be part of a gradient
                matrix = self.matrix.to(device=draws.device, dtype=draws.dtype)[None].clone()
                self._operators[key] = Dense(matrix, shape)
                _ = self._operators[key].norm_squared
        return self._operators[key]


def _read(path: str) -> np.ndarray | Entries:
    file = expand(path, "MatrixPhysics.path")
    if file.suffix not in SUFFIXES:
        raise DataError(
            f"{path}: a matrix is read from {', '.join(SUFFIXES)}, not '{file.suffix}'."
        )
    try:
        if file.suffix == ".safetensors":
            return _only(path, dict(load_file(file)))
        arrays = read_named(file) if file.suffix == ".mat" else read_arrays(file)
        return _sparse(path, arrays) if "indptr" in arrays else _only(path, arrays)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; give its full path.") from error
    except (OSError, ValueError, IndexError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as a matrix: {error}.") from error


def _only(path: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if len(arrays) != 1:
        raise DataError(f"{path}: holds {len(arrays)} arrays; save only the matrix.")
    return next(iter(arrays.values()))


def _sparse(path: str, arrays: dict[str, np.ndarray]) -> Entries:
    kind = arrays.get("format", np.array(b"csr")).item()
    if kind not in (b"csr", "csr"):
        raise DataError(f"{path}: a sparse matrix by rows is expected (csr), not {kind!r}.")
    rows, columns = (int(length) for length in arrays["shape"])
    starts, column, value = arrays["indptr"], arrays["indices"], arrays["data"]
    inside = len(column) == 0 or 0 <= column.min() <= column.max() < columns
    counts = np.diff(starts)
    fits = len(starts) == rows + 1 and starts[0] == 0 and starts[-1] == len(value)
    fits = fits and (counts >= 0).all()
    if not inside or not fits or len(column) != len(value):
        raise DataError(f"{path}: its rows and columns do not fit together; save it again.")
    return Entries(np.repeat(np.arange(rows), counts), column, value, (rows, columns))
