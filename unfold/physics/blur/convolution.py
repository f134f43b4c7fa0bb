"""Convolution: with periodic boundaries, diagonal in the Fourier basis, or without any."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from unfold.physics.blur.kernels import check_kernel
from unfold.physics.closed_forms import ClosedForm
from unfold.physics.operator import LinearOperator, Operator
from unfold.pytree import Derived
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


def centred_spectrum(kernel: Tensor, height: int, width: int, *, half: bool) -> Tensor:
    """ĥ: the transform of the kernel on the grid of the image, its centre moved to (0, 0)."""
    kh, kw = kernel.shape[-2:]
    grid = torch.nn.functional.pad(kernel, (0, width - kw, 0, height - kh))
    grid = grid.roll((-(kh // 2), -(kw // 2)), dims=(-2, -1))
    spectrum: Tensor = torch.fft.rfft2(grid) if half else torch.fft.fft2(grid)
    return spectrum


@dataclass(frozen=True, eq=False)
class CircularConvolution(ClosedForm):
    """Ax = h * x with periodic boundaries, F⁻¹(ĥ · Fx); h is centred, and flipped as in scipy.

    Args:
        kernel: h, real, (B or 1, C or 1, kh, kw), odd sizes.
        image_shape: of one image, (C, H, W).
        rcond: the pseudo-inverse leaves out frequencies with |ĥ| ≤ rcond · max|ĥ|,
            for each sample.
    """

    kernel: Tensor
    image_shape: Shape
    rcond: float = 1e-6

    def __post_init__(self) -> None:
        check_kernel("CircularConvolution", self.kernel, self.image_shape)

    @Derived
    def half_spectrum(self) -> Tensor:
        """ĥ for real images, (B or 1, C or 1, H, W // 2 + 1)."""
        return centred_spectrum(self.kernel, *self.image_shape[1:], half=True)

    @Derived
    def full_spectrum(self) -> Tensor:
        """ĥ for complex images, (B or 1, C or 1, H, W)."""
        return centred_spectrum(self.kernel, *self.image_shape[1:], half=False)

    @Derived
    def half_power(self) -> Tensor:
        """|ĥ|² for real images."""
        return squared_modulus(self.half_spectrum)

    @Derived
    def full_power(self) -> Tensor:
        """|ĥ|² for complex images."""
        return squared_modulus(self.full_spectrum)

    @property
    def abs_operator(self) -> Operator:
        return replace(self, kernel=self.kernel.abs())

    def forward(self, x: Image) -> Measurement:
        return filtered(self._spectrum(x), x)

    def adjoint(self, y: Measurement) -> Image:
        return filtered(self._spectrum(y).conj(), y)

    def normal(self, x: Image) -> Image:
        """F⁻¹(|ĥ|² · Fx)."""
        return filtered(self.normal_spectrum(x), x)

    def solve(self, b: Image, gamma: Scalar) -> Image:
        """F⁻¹(Fb / (1 + γ|ĥ|²))."""
        return filtered(1 / (1 + gamma * self.normal_spectrum(b)), b)

    @cached_property
    def norm_squared(self) -> PerImage:
        """The largest |ĥ|² of each sample."""
        return self.half_power.detach().flatten(1).amax(1)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """F⁻¹(Fy / ĥ) over the frequencies with |ĥ| > rcond · max|ĥ|."""
        above, power = self._spectrum(y).conj(), self.normal_spectrum(y)
        return filtered(invert(above, power, power, self.rcond), y)

    def _spectrum(self, x: Tensor) -> Tensor:
        return self.full_spectrum if x.is_complex() else self.half_spectrum

    def normal_spectrum(self, like: Tensor) -> Tensor:
        return self.full_power if like.is_complex() else self.half_power


def spectrum(x: Tensor) -> Tensor:
    """Fx; of real x the half of it that is independent."""
    found: Tensor = torch.fft.fft2(x) if x.is_complex() else torch.fft.rfft2(x)
    return found


def synthesis(v: Tensor, like: Tensor) -> Tensor:
    """F⁻¹v, real from a half spectrum where `like` is, and of its size."""
    x: Tensor = torch.fft.ifft2(v) if like.is_complex() else torch.fft.irfft2(v, s=like.shape[-2:])
    return x


def filtered(weights: Tensor, x: Tensor) -> Tensor:
    """F⁻¹(weights · Fx): two transforms; the weights of real x are a half spectrum."""
    return synthesis(weights * spectrum(x), x)


def squared_modulus(spectrum: Tensor) -> Tensor:
    """|ĥ|², with a gradient at 0 too."""
    return spectrum.real**2 + spectrum.imag**2


def invert(above: Tensor, power: Tensor, spectrum: Tensor, rcond: float) -> Tensor:
    """Above / power where power > rcond² · max(spectrum) of its sample, 0 elsewhere."""
    kept = power > rcond**2 * spectrum.amax((-3, -2, -1), keepdim=True)
    return torch.where(kept, above / torch.where(kept, power, 1), 0)


@dataclass(frozen=True, eq=False)
class ValidConvolution(LinearOperator):
    """Ax = crop(h * x): the pixels of the convolution that need nothing from outside the image.

    Away from the border the periodic convolution is the plain one, so that both transforms of
    `CircularConvolution` serve here: faster than `conv2d` from 13 x 13 pixels on. There is no
    closed form: the solves are by conjugate gradients, and the pseudo-inverse by CGLS, which warns
    where h is ill-conditioned.

    Args:
        kernel: h, real, (B or 1, C or 1, kh, kw), odd sizes.
        image_shape: of one image, (C, H, W); one measurement is (C, H − kh + 1, W − kw + 1).
    """

    kernel: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        _ = self.circular

    @cached_property
    def circular(self) -> CircularConvolution:
        return CircularConvolution(self.kernel, self.image_shape)

    @property
    def measurement_shape(self) -> Shape:
        (channels, height, width), (kh, kw) = self.image_shape, self.kernel.shape[-2:]
        return channels, height - kh + 1, width - kw + 1

    @property
    def abs_operator(self) -> Operator:
        return replace(self, kernel=self.kernel.abs())

    @cached_property
    def norm_bound(self) -> PerImage:
        """That of the periodic convolution, of which this one is a part."""
        return self.circular.norm_squared

    def forward(self, x: Image) -> Measurement:
        top, left = (size // 2 for size in self.kernel.shape[-2:])
        _, height, width = self.measurement_shape
        return self.circular.forward(x)[..., top : top + height, left : left + width]

    def adjoint(self, y: Measurement) -> Image:
        top, left = (size // 2 for size in self.kernel.shape[-2:])
        return self.circular.adjoint(pad(y, (left, left, top, top)))
