"""Phase retrieval from coded diffraction patterns, or from dense random measurements."""

from abc import ABC
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt, prod

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.parameters.bounds import bounded, positive, whole
from unfold.physics.base import ComplexPhysics, StatedShape
from unfold.physics.closed_forms import PerPixel
from unfold.physics.mri.cartesian import back, transform
from unfold.physics.operator import EACH, LinearOperator
from unfold.pytree import Derived
from unfold.random import Draws, generator
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class CodedDiffraction(PerPixel):
    """(Ax)_l = F(d_l · x) / √L, l = 1 … L, F the orthonormal transform; A*A = Σ |d_l|² / L.

    Args:
        codes: d, complex, (B or 1, L, H, W).
        image_shape: of one image, (C, H, W); one measurement is (C, L, H, W).

    Source: Candès, Li and Soltanolkotabi, Phase retrieval from coded diffraction patterns, Applied
    and Computational Harmonic Analysis 39 (2015), section 1.2.
    """

    codes: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        self.expect_field("codes", "complex", EACH, "L", *self.image_shape[1:])

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.codes.shape[1], *self.image_shape[1:]

    @Derived
    def power(self) -> Tensor:
        """Σ |d_l|² / L, (B or 1, 1, H, W)."""
        return (self.codes.real**2 + self.codes.imag**2).mean(1, keepdim=True)

    def forward(self, x: Image) -> Measurement:
        y: Tensor = self.codes.shape[1] ** -0.5 * transform(self.codes[:, None] * x[:, :, None])
        return y

    def adjoint(self, y: Measurement) -> Image:
        scale = self.codes.shape[1] ** -0.5
        x: Tensor = scale * (self.codes.conj()[:, None] * back(y)).sum(2)
        return x


@dataclass(frozen=True)
class Phaseless(ComplexPhysics, ABC):
    """y = |Ax| with noise, A linear.

    The observation is not linear in the image: take the fidelity `Amplitude`, whose A is the linear
    operator, with the start `Spectral`. An image and its negative are observed alike.

    Args:
        noise: added to the amplitudes.
    """

    baselines = ()

    def observe(self, v: Measurement) -> Measurement:
        """|v|: a detector measures no phase."""
        return v.abs()


@dataclass(frozen=True)
class PhaseRetrieval(Phaseless):
    """y = |Ax| with noise, (Ax)_l = F(d_l · x) / √L; d_l of random phases, sampled for every image.

    Args:
        codes: L, at least 1.
    """

    codes: int = bounded(4, whole(1))

    def image_shape(self, measurement_shape: Shape) -> Shape:
        return measurement_shape[0], *measurement_shape[2:]

    def complex_operator(self, draws: Draws, shape: Shape) -> CodedDiffraction:
        own, size = replace(draws, dtype=draws.dtype.to_complex()), (self.codes, *shape[1:])
        codes = own.each("codes", lambda g, _: np.exp(2j * np.pi * g.uniform(size=size)))
        return CodedDiffraction(codes, shape)


MOST_ENTRIES = 2**24
"""Of a matrix: 128 MiB in single precision, an image of 45 x 45 pixels measured 4 times over."""


@dataclass(frozen=True, eq=False)
class ChannelwiseMatrix(LinearOperator):
    """Ax = Mx for every channel, its pixels row by row.

    Args:
        matrix: M, complex, (1, m, H · W).
        image_shape: of one image, (C, H, W); one measurement is (C, m).
    """

    matrix: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        self.expect_field("matrix", "complex", 1, "m", prod(self.image_shape[1:]))

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.matrix.shape[1]

    def forward(self, x: Image) -> Measurement:
        return x.flatten(2) @ self.matrix[0].mT

    def adjoint(self, y: Measurement) -> Image:
        # Amplitudes are real, and a product of a real table with a complex one is refused.
        columns = y.to(self.matrix.dtype) @ self.matrix[0].conj()
        return columns.reshape(-1, *self.image_shape)


@dataclass(frozen=True)
class RandomPhaseRetrieval(StatedShape, Phaseless):
    """y = |Ax| with noise, the entries of A complex Gaussian, independent, of variance 1/m.

    A is the same for all channels and all images of one size, and depends only on `ratio` and
    `seed`. It is dense, and made for small images.

    Args:
        ratio: m over the pixels of a channel, positive; 4 and more make the image nearly certain.
        seed: of A, independent of that of the run: it is part of the instrument.

    Source: Candès, Li and Soltanolkotabi, Phase retrieval via Wirtinger flow, IEEE Trans. Inf.
    Theory 61 (2015), the Gaussian model of section II.
    """

    ratio: float = bounded(4.0, positive, "measurements over pixels of a channel")
    seed: int = 0

    is_deterministic = True

    def complex_operator(self, draws: Draws, shape: Shape) -> ChannelwiseMatrix:
        pixels = shape[1] * shape[2]
        count = max(1, round(self.ratio * pixels))
        if count * pixels > MOST_ENTRIES:
            side = isqrt(isqrt(int(MOST_ENTRIES / self.ratio)))
            raise ShapeError(
                f"RandomPhaseRetrieval: an image of {shape[1]} x {shape[2]} pixels needs a dense "
                f"matrix of {count} x {pixels}; use images of at most {side} x {side}, or "
                "PhaseRetrieval, whose operators are fast transforms."
            )
        matrix = _gaussian(self.seed, count, pixels)
        kind = draws.dtype.to_complex()
        return ChannelwiseMatrix(matrix.to(device=draws.device, dtype=kind), shape)


@lru_cache(maxsize=4)
def _gaussian(seed: int, count: int, pixels: int) -> Tensor:
    """(1, m, n), E|a|² = 1/m, in double precision."""
    parts = generator("random phase retrieval", seed, pixels).standard_normal((2, count, pixels))
    values = (parts[0] + 1j * parts[1]) / np.sqrt(2 * count)
    with torch.inference_mode(False):
        return torch.from_numpy(values)[None]
