"""Compressed sensing by dense Gaussian matrices, of the image or of each of its blocks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import isqrt, prod

import numpy as np
import torch
from torch import Tensor

from unfold.array_files import chosen, read_named
from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import bounded, inside, whole
from unfold.physics.algebra import Composed
from unfold.physics.base import Physics, StatedShape
from unfold.physics.blur.padding import ZeroPadding
from unfold.physics.closed_forms import OrthonormalMatrix
from unfold.physics.custom.matrix import Dense
from unfold.random import Draws, generator
from unfold.typing import Image, Measurement, Shape

LARGEST = 2**28
"""Entries of a matrix: 1 GiB in single precision."""


@dataclass(frozen=True, eq=False)
class DenseRows(OrthonormalMatrix, Dense):
    """Ax = Mx, MM* = I, the pixels row by row and channel by channel."""


@dataclass(frozen=True)
class GaussianSensing(StatedShape):
    """y = Φx with noise, all pixels and channels in every measurement; Φ Gaussian, ΦΦᵀ = I.

    Φ has independent normal entries whose rows are made orthonormal, as Gram and Schmidt do. It
    depends only on the shape of the images, `ratio` and `seed`, and is as large as ratio · n², n
    the pixels: `CompressedSensing` and `BlockCompressedSensing` are for larger images.

    Args:
        ratio: measurements over C · H · W, in (0, 1]; there is at least one.
        seed: of Φ.

    Source: Candès and Tao, Near-optimal signal recovery from random projections: universal encoding
    strategies?, IEEE Trans. Information Theory 52 (2006), section 1.3.
    """

    varied, baselines = ("ratio",), ("linear", "tv")
    ratio: float = bounded(0.1, inside("(0, 1]"), "measurements over C · H · W")
    seed: int = 0

    is_deterministic = True

    def sample(self, draws: Draws, shape: Shape) -> DenseRows:
        n = prod(shape)
        m = max(1, round(self.ratio * n))
        if m * n > LARGEST:
            raise ShapeError(
                f"GaussianSensing: {m} x {n} entries for images of {shape} are too many; take "
                "CompressedSensing, a smaller ratio or smaller images."
            )
        matrix = orthonormal_rows(self.seed, m, n).to(device=draws.device, dtype=draws.dtype)
        return DenseRows(matrix[None], shape)


@lru_cache(maxsize=4)
def orthonormal_rows(seed: int, m: int, n: int) -> Tensor:
    """(m, n), in double precision: L⁻¹G, G normal and L the factor of GGᵀ = LLᵀ."""
    entries = generator("gaussian sensing", seed, n).standard_normal((m, n))
    with torch.inference_mode(False), torch.no_grad():
        g = torch.from_numpy(entries)
        factor = torch.linalg.cholesky(g @ g.mT)
        rows: Tensor = torch.linalg.solve_triangular(factor, g, upper=False)
    return rows


@dataclass(frozen=True, eq=False)
class BlockMatrix(OrthonormalMatrix):
    """(Ax)_p = Φ x_p for every block p of n x n pixels; ΦΦᵀ = I.

    Args:
        matrix: Φ, real, (1, m, n²); the pixels of a block row by row.
        image_shape: of one image, (C, H, W), H and W divisible by n; one measurement is
            (C, m, H / n, W / n).
        separate: whether a reconstructor takes the blocks for images of their own.
    """

    image_shape: Shape
    separate: bool = False

    def __post_init__(self) -> None:
        side = self.side
        if self.matrix.ndim != 3 or len(self.matrix) != 1 or side**2 != self.matrix.shape[2]:
            raise ShapeError(
                f"BlockMatrix.matrix must be (1, m, n²), got {tuple(self.matrix.shape)}; n is the "
                "side of a block."
            )
        height, width = self.image_shape[1:]
        if height % side or width % side:
            raise ShapeError(
                f"BlockMatrix: an image of {height} x {width} pixels is not made of blocks of "
                f"{side} x {side}; crop the images to multiples of {side}."
            )

    @property
    def side(self) -> int:
        return isqrt(self.matrix.shape[-1])

    @property
    def measurement_shape(self) -> Shape:
        channels, height, width = self.image_shape
        return channels, self.matrix.shape[1], height // self.side, width // self.side

    def pieces(self, x: Image) -> Tensor:
        """The blocks, (B, C, H / n, W / n, n²)."""
        n, (channels, _, down, across) = self.side, self.measurement_shape
        return x.reshape(-1, channels, down, n, across, n).transpose(3, 4).flatten(4)

    def readings(self, y: Measurement) -> Tensor:
        """The measurements of the blocks, (B, C, H / n, W / n, m)."""
        return y.movedim(2, -1)

    def assembled(self, pieces: Tensor) -> Image:
        """The image of these blocks."""
        n, (channels, _, down, across) = self.side, self.measurement_shape
        image = pieces.reshape(-1, channels, down, across, n, n).transpose(3, 4)
        return image.reshape(-1, *self.image_shape)

    def forward(self, x: Image) -> Measurement:
        return (self.pieces(x) @ self.matrix[0].mT.to(x.dtype)).movedim(-1, 2)

    def adjoint(self, y: Measurement) -> Image:
        return self.assembled(self.readings(y) @ self.matrix[0].to(y.dtype))


PER_PIXEL = "measurements over pixels of a channel"

MOST_ENTRIES = 2**25
"""Of a matrix: 256 MiB in double precision, blocks of 107 x 107 pixels measured a quarter."""


@dataclass(frozen=True)
class BlockCompressedSensing(Physics):
    """y_p = Φ x_p with noise for every block p; Φ of a file, or Gaussian with orthonormalised rows.

    Φ is the same for all blocks and images; without a file it depends only on `block`, `ratio` and
    `seed`. An image that is not made of whole blocks is padded with zeros below and to the right:
    no pixel is lost, and only the image is reconstructed. Whole blocks keep the closed forms of
    AA* = I; with others, the solves are iterative.

    Args:
        block: n, the side of a block in pixels.
        ratio: m / n², in (0, 1]; at least one coefficient of a block is measured. None for that of
            the file, or 0.25.
        seed: of Φ, where it is from no file.
        matrix: a file with Φ, (m, n²), of orthonormal rows: .npy, .npz or .mat, there as `phi`.
        separate: whether every block is reconstructed alone, with its zeros outside of the image.

    Source: Zhang and Ghanem, ISTA-Net: interpretable optimization-inspired deep network for image
    compressive sensing, CVPR 2018, section 4, with blocks of 33 x 33.
    """

    varied, baselines = ("ratio",), ("linear", "tv")
    block: int = bounded(33, whole(1), "the side of a block in pixels")
    ratio: float | None = bounded(None, inside("(0, 1]"), PER_PIXEL)
    seed: int = 0
    matrix: str | None = None
    separate: bool = False

    is_deterministic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.matrix is not None:
            self.rows  # noqa: B018 (reads the file, which may be refused)
            return
        ratio = self.ratio or 0.25
        entries = round(ratio * self.block**4)
        if entries > MOST_ENTRIES:
            raise ConfigError(
                f"BlockCompressedSensing.block = {self.block}: a matrix of {entries} entries at "
                f"ratio {ratio:g}, of at most {MOST_ENTRIES}; take a smaller block, or "
                "CompressedSensing, whose transform is fast."
            )

    def variants(self) -> Mapping[str, "BlockCompressedSensing"]:
        """Of a matrix from a file there is no other ratio."""
        drawn = self.matrix is None and self.ratio is None
        known = replace(self, ratio=0.25) if drawn else self
        return super(BlockCompressedSensing, known).variants() if self.matrix is None else {}

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, n · h, n · w): the whole blocks, of which the image may be a part."""
        channels, _, down, across = measurement_shape
        return channels, self.block * down, self.block * across

    @cached_property
    def rows(self) -> Tensor:
        """Φ, (1, m, n²), in double precision."""
        n = self.block**2
        if self.matrix is not None:
            return torch.from_numpy(self._read(n))[None]
        m = max(1, round((self.ratio or 0.25) * n))
        rows = generator("block compressed sensing", self.seed, n).standard_normal((m, n))
        q, r = np.linalg.qr(rows.T)
        # The sign of the triangle makes the answer that of Gram and Schmidt, on any library.
        return torch.from_numpy((q * np.sign(np.diagonal(r))).T.copy())[None]

    def _read(self, n: int) -> np.ndarray:
        name, found = f"BlockCompressedSensing.matrix = {self.matrix}", read_named(str(self.matrix))
        values = found[chosen(str(self.matrix), found, usual="phi")]
        if values.ndim != 2 or values.shape[1] != n or not 1 <= len(values) <= n:
            raise ConfigError(
                f"{name}: a table of {n} columns, the pixels of a block of {self.block} x "
                f"{self.block}, is expected, and it is {values.shape}. Set block, or transpose it."
            )
        error = np.abs(values @ values.T - np.eye(len(values))).max()
        if values.dtype.kind == "c" or not error < 1e-4:
            raise ConfigError(
                f"{name}: real, orthonormal rows are expected, and |Phi Phi^T - I| is up to "
                f"{error:.2g}. Orthonormalise them, as the Q of numpy.linalg.qr(Phi.T)."
            )
        if self.seed or (self.ratio and abs(self.ratio * n - len(values)) >= 1):
            raise ConfigError(
                f"{name}: it has {len(values)} of {n} rows, ratio {len(values) / n:.4g}, and no "
                "seed. Leave out ratio and seed."
            )
        return np.ascontiguousarray(values, np.float64)

    def sample(self, draws: Draws, shape: Shape) -> BlockMatrix | Composed:
        matrix = self.rows.to(device=draws.device, dtype=draws.dtype)
        height, width = (-(-size // self.block) * self.block for size in shape[1:])
        blocks = BlockMatrix(matrix, (shape[0], height, width), self.separate)
        if blocks.image_shape == shape:
            return blocks
        return Composed(blocks, ZeroPadding(shape, height, width))
