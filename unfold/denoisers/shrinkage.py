"""Learned filters with a learned function of each of their coefficients: CSF, ADMM-Net."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from unfold.denoisers.denoiser import Denoiser
from unfold.denoisers.experts import expect_experts, gaussian_mixture, initial_filters, synthesised
from unfold.denoisers.ridge import Ridge, spline
from unfold.errors import ConfigError
from unfold.solvers.linear_map import LinearMap
from unfold.typing import Field, Image, Scalar


@dataclass(frozen=True, eq=False)
class FilterBank(LinearMap):
    """(Kx)_i = k_i ∗ x of periodic images: (B, C, H, W) to (B, CF, H, W), channels separate.

    Args:
        filters: k, (F, 1, n, n), n odd.
    """

    filters: Tensor

    def forward(self, x: Image) -> Field:
        return by_parts(partial(_periodic, self.filters), x)

    def adjoint(self, y: Field) -> Image:
        return by_parts(partial(_periodic, self.filters.flip(2, 3).transpose(0, 1)), y)

    def normal_spectrum(self, like: Image) -> Tensor | None:
        """Σ |k̂_i|²."""
        height, width = like.shape[-2:]
        if min(height, width) < self.filters.shape[-1]:
            return None
        transform = torch.fft.fft2 if like.is_complex() else torch.fft.rfft2
        k: Tensor = transform(self.filters, s=(height, width))
        return (k.real**2 + k.imag**2).sum((0, 1))


class ShrinkageField(Denoiser, ABC):
    """K, a bank of learned filters of periodic images, and S, a learned function of each of them.

    D(v) = v − K*(Kv − S(Kv))/‖K‖², a step from v on ½‖Kx − S(Kv)‖². The filters k_i = Bc_i, B the
    cosine basis without the constant, act on each channel separately.
    """

    def __init__(self, channels: int, filters: int, size: int) -> None:
        super().__init__()
        self.channels = channels
        self.coefficients = nn.Parameter(initial_filters(filters, size))

    @abstractmethod
    def derived(self) -> Ridge:
        """K, and S as a table."""

    @property
    def analysis(self) -> FilterBank:
        """K."""
        return FilterBank(self.once().weights[0])

    def shrink(self, u: Field) -> Field:
        """S(u), of complex u on both parts."""
        R: Ridge = self.once()

        def each(u: Tensor) -> Tensor:
            fields = u.reshape(-1, len(self.coefficients), *u.shape[2:])
            return spline(R.table, R.radius, fields, R.order, R.start).reshape(u.shape)

        return by_parts(each, u)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        K = self.analysis
        u = K.forward(v)
        norm = K.filters.square().sum() * K.filters.shape[-1] ** 2  # at least ‖K‖²
        return v - K.adjoint(u - self.shrink(u)) / norm.clamp(min=1e-12)


class GaussianShrinkage(ShrinkageField):
    """S_i(u) = Σ_j w_ij exp(−(u − μ_j)²/2γ²), the μ_j γ apart around 0, as in CSF.

    Args:
        channels: C of the images.
        filters: how many.
        size: of the filters, odd; with size² − 1 filters of 53 Gaussians a stage has 489 weights.
        knots: Gaussians of each function, odd.
        spacing: γ, in units of an image in [0, 1]; 10 of 255.

    Source: Schmidt and Roth, Shrinkage fields for effective image restoration, CVPR 2014, sec. 3.
    """

    def __init__(
        self,
        channels: int = 3,
        filters: int = 8,
        size: int = 3,
        knots: int = 53,
        spacing: float = 10 / 255,
    ) -> None:
        expect_experts("GaussianShrinkage", channels, filters, size, knots, spacing)
        super().__init__(channels, filters, size)
        self.spacing = spacing
        u = spacing * (torch.arange(knots) - knots // 2)
        # Σ_j exp(−(t − j)²/2) = √(2π) nearly, so that S(u) is about u³/(u² + 0.1²).
        start = u**3 / (u**2 + 0.01) / math.sqrt(2 * math.pi)
        self.weights = nn.Parameter(start.repeat(filters, 1))

    def derived(self) -> Ridge:
        return gaussian_mixture(synthesised(self.coefficients), self.weights, self.spacing)


class SplineShrinkage(ShrinkageField):
    """S_i is linear between equally spaced knots on [−radius, radius] and beyond, as in ADMM-Net.

    Args:
        channels: C of the images.
        filters: how many.
        size: of the filters, odd.
        knots: of each function, odd.
        radius: where the outermost knots are.
        threshold: S is the soft threshold at first.

    Source: Yang, Sun, Li and Xu, Deep ADMM-Net for compressive sensing MRI, NeurIPS 2016, section
    3, equation 8; beyond the knots its slope is that between the last two, in place of 1.
    """

    def __init__(
        self,
        channels: int = 3,
        filters: int = 8,
        size: int = 3,
        knots: int = 101,
        radius: float = 1.0,
        threshold: float = 0.01,
    ) -> None:
        expect_experts("SplineShrinkage", channels, filters, size, knots, 2 * radius / (knots - 1))
        if not 0 <= threshold < radius:
            raise ConfigError(
                f"SplineShrinkage.threshold = {threshold}: must be 0 to below radius = {radius}."
            )
        super().__init__(channels, filters, size)
        self.radius = radius
        u = torch.linspace(-radius, radius, knots)
        self.table = nn.Parameter(
            (u.sign() * (u.abs() - threshold).clamp(min=0)).repeat(filters, 1)
        )

    def derived(self) -> Ridge:
        return Ridge((synthesised(self.coefficients),), self.table, self.radius)


def by_parts(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f of a real x, and of both parts of a complex one."""
    return torch.complex(f(x.real), f(x.imag)) if x.is_complex() else f(x)


def _periodic(W: Tensor, x: Tensor) -> Tensor:
    """W of every group of channels that it takes."""
    groups = x.reshape(-1, W.shape[1], *x.shape[2:])
    made = conv2d(pad(groups, (W.shape[-1] // 2,) * 4, mode="circular"), W)
    return made.reshape(len(x), -1, *x.shape[2:])
