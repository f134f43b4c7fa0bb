"""Coded diffraction: the image behind several phase plates, in the far field; only amplitudes."""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from unfold.parameters.bounds import bounded, whole
from unfold.physics.base import Phaseless
from unfold.physics.closed_forms import PerPixel
from unfold.physics.mri.cartesian import back, transform
from unfold.physics.operator import EACH
from unfold.pytree import Derived
from unfold.random import Draws
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
        scale = self.codes.shape[1] ** -0.5
        y: Tensor = scale * transform(self.codes[:, None] * x[:, :, None])
        return y

    def adjoint(self, y: Measurement) -> Image:
        scale = self.codes.shape[1] ** -0.5
        x: Tensor = scale * (self.codes.conj()[:, None] * back(y)).sum(2)
        return x


@dataclass(frozen=True)
class PhaseRetrieval(Phaseless):
    """y = |Ax| with noise, (Ax)_l = F(d_l · x) / √L; d_l of random phases, sampled for every image.

    Args:
        noise: added to the amplitudes.
        codes: L, at least 1.
    """

    codes: int = bounded(4, whole(1))

    def image_shape(self, measurement_shape: Shape) -> Shape:
        return measurement_shape[0], *measurement_shape[2:]

    def complex_operator(self, draws: Draws, shape: Shape) -> CodedDiffraction:
        return CodedDiffraction(self._codes(draws, shape), shape)

    def _codes(self, draws: Draws, shape: Shape) -> Tensor:
        """(B, L, H, W), of modulus 1."""

        def phases(g: np.random.Generator, _: int) -> np.ndarray:
            return np.asarray(np.exp(2j * np.pi * g.uniform(size=(self.codes, *shape[1:]))))

        own = replace(draws, dtype=draws.dtype.to_complex())
        return own.each("codes", phases)
