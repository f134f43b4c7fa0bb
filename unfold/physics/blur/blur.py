"""Blur: the image convolved with a kernel, fixed, sampled, or varying from place to place."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import bounded, one_of, whole
from unfold.parameters.constraints import simplex
from unfold.parameters.declare import Learnable
from unfold.physics.algebra import Composed
from unfold.physics.base import Physics, Taken
from unfold.physics.blur.convolution import (
    CircularConvolution,
    ValidConvolution,
    centred_spectrum,
    spectrum,
    synthesis,
)
from unfold.physics.blur.kernel_files import FixedKernels, KernelFile
from unfold.physics.blur.kernels import Kernel, check_kernel
from unfold.physics.blur.padding import BOUNDARIES, Padding
from unfold.physics.noise.measured import DATA
from unfold.physics.operator import LinearOperator, Operator
from unfold.pytree import Derived
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True)
class KernelPhysics(Physics, ABC):
    """A physics whose operators blur with a kernel h.

    Args:
        noise: added to the blurred image.
        kernel: the distribution of h; or the file of one kernel; or the word `data`.
    """

    kernel: Kernel | str

    photographic = True
    from_data: ClassVar[Taken] = {"kernel": FixedKernels}
    learnable: ClassVar[Mapping[str, Learnable]] = {
        "kernel": Learnable(simplex, lambda own: own.known, "a file, or a kernel without ranges")
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel != DATA:
            self.kernels  # noqa: B018 - a file is read here, so that a bad one is found at once

    @cached_property
    def kernels(self) -> Kernel:
        """The distribution of h; that of the file if one is named."""
        if self.kernel == DATA:
            raise self.without("kernel")
        return KernelFile(self.kernel) if isinstance(self.kernel, str) else self.kernel

    @property
    def is_deterministic(self) -> bool:
        return self.kernel != DATA and self.kernels.is_deterministic

    @property
    def known(self) -> Tensor | None:
        """h, (1, kh, kw), where it is the same for every image."""
        one = Draws(0, (0,), dtype=torch.float64)
        return self.kernels.sample(one)[:, 0] if self.is_deterministic else None


@dataclass(frozen=True)
class Blur(KernelPhysics):
    """y = h * x with noise, with periodic boundaries: the measurement has the size of the image."""

    def sample(self, draws: Draws, shape: Shape) -> CircularConvolution:
        return CircularConvolution(self.kernels.sample(draws.within("kernel")), shape)


@dataclass(frozen=True)
class ValidBlur(KernelPhysics):
    """y = crop(h * x) with noise: the measurement loses what the border of the image would need."""

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, h + kh − 1, w + kw − 1)."""
        (channels, height, width), (kh, kw) = measurement_shape, self.kernels.shape
        return channels, height + kh - 1, width + kw - 1

    def sample(self, draws: Draws, shape: Shape) -> ValidConvolution:
        return ValidConvolution(self.kernels.sample(draws.within("kernel")), shape)


@dataclass(frozen=True)
class PaddedBlur(KernelPhysics):
    """y = crop(h * pad(x)) with noise: the image is continued beyond its border by a rule.

    The measurement has the size of the image. The convolution is the valid one of the continued
    image, and the adjoint folds the border back.

    Args:
        boundary: `reflect`, `replicate` or `symmetric`; `mirror`, `nearest` and `reflect` of
            `scipy.ndimage`.
    """

    boundary: str = bounded("reflect", one_of(*BOUNDARIES))

    def sample(self, draws: Draws, shape: Shape) -> Composed:
        kernel = self.kernels.sample(draws.within("kernel"))
        check_kernel("PaddedBlur", kernel, shape)
        top, left = (size // 2 for size in kernel.shape[-2:])
        pad = Padding(shape, top, left, self.boundary)
        return Composed(ValidConvolution(kernel, pad.measurement_shape), pad)


@dataclass(frozen=True, eq=False)
class VaryingConvolution(LinearOperator):
    """Ax = Σ_k h_k * (w_k · x), periodic boundaries.

    A point of light at v is measured as Σ_k w_k(v) h_k around v: kernels are interpolated where the
    light comes from, so that none of it is lost where the weights sum to 1.

    Args:
        kernels: h, real, (B or 1, K, kh, kw), odd sizes, shared by the channels.
        weights: w, real, (1, K, H, W).
        image_shape: of one image, (C, H, W).

    Source: Denis, Thiébaut, Soulez, Becker and Mourya, Fast approximations of shift-variant blur,
    IJCV 115 (2015), section 3.4; Nagy and O'Leary, Restoring images degraded by spatially variant
    blur, SIAM J. Scientific Computing 19 (1998).
    """

    kernels: Tensor
    weights: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        check_kernel("VaryingConvolution", self.kernels[:, :1], self.image_shape)
        count, size = self.kernels.shape[1], self.image_shape[1:]
        self.expect_field("weights", "real", 1, count, *size)

    @Derived
    def half_spectrum(self) -> Tensor:
        """ĥ for real images, (B or 1, K, 1, H, W // 2 + 1)."""
        return centred_spectrum(self.kernels, *self.image_shape[1:], half=True)[:, :, None]

    @Derived
    def full_spectrum(self) -> Tensor:
        """ĥ for complex images, (B or 1, K, 1, H, W)."""
        return centred_spectrum(self.kernels, *self.image_shape[1:], half=False)[:, :, None]

    @property
    def abs_operator(self) -> Operator:
        return replace(self, kernels=self.kernels.abs(), weights=self.weights.abs())

    def forward(self, x: Image) -> Measurement:
        """K transforms and one back."""
        parts = self.weights[:, :, None] * x[:, None]
        return synthesis((self._spectrum(x) * spectrum(parts)).sum(1), x)

    def adjoint(self, y: Measurement) -> Image:
        """One transform and K back."""
        parts = synthesis(self._spectrum(y).conj() * spectrum(y)[:, None], y)
        return (self.weights[:, :, None] * parts).sum(1)

    def _spectrum(self, x: Tensor) -> Tensor:
        return self.full_spectrum if x.is_complex() else self.half_spectrum


@dataclass(frozen=True)
class VaryingBlur(KernelPhysics):
    """y = Σ_k h_k * (w_k · x) with noise, periodic boundaries: h_k at the places of a grid.

    The places lie on a grid from border to border, and w_k falls linearly from 1 at its place to 0
    at the neighbours: Σ_k w_k = 1. The kernels are independent samples of one distribution.

    Args:
        kernel: the distribution of h_k, or the file of several kernels.
        grid: places down and across, each at least 1, and two or more in all.
    """

    from_data: ClassVar[Taken] = {}
    learnable: ClassVar[Mapping[str, Learnable]] = {}

    grid: Sequence[int] = bounded((3, 3), whole(1), "[down, across]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.grid) != 2 or tuple(self.grid) == (1, 1):
            raise ConfigError(
                f"VaryingBlur.grid = {list(self.grid)}: must be [down, across], of which one is "
                "above 1."
            )
        if self.kernels.is_deterministic:
            raise ConfigError(
                "VaryingBlur.kernel: the distribution has a single kernel, so that nothing would "
                "vary; give a range such as sigma = (0.5, 2.0), or take Blur."
            )

    def sample(self, draws: Draws, shape: Shape) -> VaryingConvolution:
        places = [f"kernel {k}" for k in range(self.grid[0] * self.grid[1])]
        kernels = torch.cat([self.kernels.sample(draws.within(place)) for place in places], 1)
        down, across = map(hats, self.grid, shape[1:])
        tables = down[:, None, :, None] * across[None, :, None, :]
        weights = torch.from_numpy(tables.reshape(1, -1, *shape[1:]))
        return VaryingConvolution(kernels, weights.to(kernels), shape)


def hats(count: int, size: int) -> np.ndarray:
    """(count, size): linear from 1 at each of equally spaced places to 0 at its neighbours."""
    if count == 1:
        return np.ones((1, size))
    place = np.linspace(0, count - 1, size) if size > 1 else np.full(1, (count - 1) / 2)
    return np.asarray((1 - np.abs(place - np.arange(count)[:, None])).clip(0))
