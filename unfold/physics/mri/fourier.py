"""Samples of the Fourier transform of an image: Cartesian magnetic resonance with one coil."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.closed_forms import DiagonalNormal, divide
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Fourier(DiagonalNormal):
    """Ax = m · Fx of complex images, F the orthonormal transform; frequency 0 is at index (0, 0).

    Args:
        mask: m, real, (B or 1, 1, H or 1, W or 1), shared by the channels; 1 where a frequency is
            sampled.
        image_shape: of one image, (C, H, W).
    """

    mask: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        check_mask(type(self).__name__, self.mask, self.image_shape)

    complex_images = True

    def forward(self, x: Image) -> Measurement:
        return self.mask * transform(x)

    def adjoint(self, y: Measurement) -> Image:
        return back(self.mask * y)

    @property
    def power(self) -> Tensor:
        """m², the spectrum of A*A."""
        return self.mask**2

    def coefficients(self, x: Image) -> Tensor:
        return transform(x)

    def synthesis(self, v: Tensor) -> Image:
        return back(v)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """F⁻¹(y / m) over the frequencies with m ≠ 0."""
        return back(divide(y, self.mask))


@dataclass(frozen=True, eq=False)
class RealFourier(Fourier):
    """Ax = m · Fx of real images: A*y = Re F⁻¹(m · y), and A*A = F⁻¹ s F.

    The frequencies k and −k of a real image are conjugate: s(k) = (m²(k) + m²(−k)) / 2.
    """

    complex_images = False
    complex_measurements = True

    def adjoint(self, y: Measurement) -> Image:
        return super().adjoint(y).real

    def synthesis(self, v: Tensor) -> Image:
        return back(v).real

    def pseudo_inverse(self, y: Measurement) -> Image:
        """F⁻¹(F A*y / s) over the frequencies with s ≠ 0."""
        s = self.power
        inverse = torch.where(s != 0, 1 / torch.where(s != 0, s, 1), 0)
        return back(inverse * transform(self.adjoint(y))).real

    @property
    def power(self) -> Tensor:
        """The spectrum s of A*A, of the shape of the mask."""
        squared = self.mask**2
        mirrored = squared.flip((-2, -1)).roll((1, 1), (-2, -1))
        return (squared + mirrored) / 2


def check_mask(owner: str, mask: Tensor, shape: Shape) -> None:
    """Raise a `ShapeError` for a mask that is not (B or 1, 1, H or 1, W or 1) and real."""
    height, width = shape[-2:]
    fits = mask.ndim == 4 and mask.shape[1] == 1 and not mask.is_complex()
    if not fits or mask.shape[2] not in (1, height) or mask.shape[3] not in (1, width):
        raise ShapeError(
            f"{owner}.mask must be real, (batch or 1, 1, {height} or 1, {width} or 1), got "
            f"{tuple(mask.shape)} of {mask.dtype}."
        )


def transform(x: Tensor) -> Tensor:
    """Fx, orthonormal, over the last two dimensions."""
    spectrum: Tensor = torch.fft.fft2(x, norm="ortho")
    return spectrum


def back(spectrum: Tensor) -> Tensor:
    """F⁻¹ of a spectrum."""
    x: Tensor = torch.fft.ifft2(spectrum, norm="ortho")
    return x
