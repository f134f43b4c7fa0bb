"""Compressed sensing of full images by a dense random matrix."""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.parameters.bounds import bounded, inside
from unfold.physics.base import Physics
from unfold.physics.closed_forms import OrthonormalMatrix
from unfold.physics.custom.linear import Dense
from unfold.random import Draws, generator
from unfold.typing import Shape

LARGEST = 2**28
"""Entries of a matrix: 1 GiB in single precision."""


@dataclass(frozen=True, eq=False)
class DenseRows(OrthonormalMatrix, Dense):
    """Ax = Mx, MM* = I, the pixels row by row and channel by channel.

    Args:
        matrix: M, (B or 1, m, C · H · W).
        shape: of one image, (C, H, W); one measurement is (m,).
    """


@dataclass(frozen=True)
class GaussianSensing(Physics):
    """y = Φx with noise, all pixels and channels in every measurement; Φ Gaussian, ΦΦᵀ = I.

    Φ has independent normal entries whose rows are made orthonormal, as Gram and Schmidt do. It
    depends only on the shape of the images, `ratio` and `seed`, and is as large as ratio · n², n
    the pixels: `CompressedSensing` and `BlockCompressedSensing` are for larger images.

    Args:
        noise: added to the measurements.
        ratio: measurements over C · H · W, in (0, 1]; there is at least one.
        shape: (C, H, W) of the image behind a real measurement, which does not tell it; null where
            measurements are simulated.
        seed: of Φ.

    Source: Candès and Tao, Near-optimal signal recovery from random projections: universal encoding
    strategies?, IEEE Trans. Information Theory 52 (2006), section 1.3.
    """

    ratio: float = bounded(0.1, inside("(0, 1]"), "measurements over C · H · W")
    shape: tuple[int, ...] | None = None
    seed: int = 0

    is_deterministic = True

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """The shape given."""
        if self.shape is None:
            raise ShapeError(
                f"GaussianSensing: {measurement_shape[0]} measurements do not tell the sides of "
                "the image; give its shape, (C, H, W)."
            )
        return tuple(self.shape)

    def sample(self, draws: Draws, shape: Shape) -> DenseRows:
        """The same for every image."""
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
