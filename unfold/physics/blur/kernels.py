"""Distributions of blur kernels: non-negative, of odd size, of sum 1; the kernel of a lens."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import Declared, bounded, inside, nonnegative, positive
from unfold.physics.levels import Level, all_numbers, level_column, level_per_image
from unfold.random import Draws
from unfold.typing import Shape


def check_kernel(owner: str, kernel: Tensor, shape: Shape) -> None:
    """Raise a `ShapeError` for a kernel that does not fit images of `shape`, (C, H, W)."""
    if kernel.ndim != 4 or kernel.is_complex() or len(shape) != 3:
        raise ShapeError(
            f"{owner} expects a real kernel (batch or 1, channel or 1, height, width) and a shape "
            f"(channel, height, width), got {tuple(kernel.shape)} of {kernel.dtype} and {shape}."
        )
    if kernel.shape[1] not in (1, shape[0]):
        raise ShapeError(
            f"{owner}: a kernel of {kernel.shape[1]} channels does not fit images of {shape[0]}; "
            "give one channel, or as many as the image has."
        )
    check_odd(owner, kernel.shape[-2], kernel.shape[-1])
    (kh, kw), (height, width) = kernel.shape[-2:], shape[1:]
    if kh > height or kw > width:
        raise ShapeError(
            f"{owner}: a kernel of {kh} x {kw} pixels is larger than the image of "
            f"{height} x {width}; take a smaller kernel, or larger images."
        )


def check_odd(owner: str, *sizes: int) -> None:
    """Raise a `ConfigError` for an even size, which has no central pixel."""
    for size in sizes:
        if size < 1 or size % 2 == 0:
            raise ConfigError(
                f"{owner}: a kernel of {size} pixels has no centre; use an odd size, "
                f"such as {max(1, size - 1)} or {max(1, size + 1)}."
            )


@dataclass(frozen=True)
class Kernel(Declared, ABC):
    """A distribution of kernels; a deterministic one always gives the same kernel."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels, both odd."""

    @property
    def is_deterministic(self) -> bool:
        """Whether every sample is the same kernel: by default, where no level is a range."""
        return all_numbers(self)

    @abstractmethod
    def sample(self, draws: Draws) -> Tensor:
        """(B, 1, kh, kw), or (1, 1, kh, kw) if deterministic: non-negative, of sum 1."""


@dataclass(frozen=True)
class SquareKernel(Kernel, ABC):
    """A kernel of `size` x `size` pixels, `size` odd."""

    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_odd(f"{type(self).__name__}.size", self.size)

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    def expect_at_most(self, name: str, most: float | int, formula: str) -> None:
        """Raise a `ConfigError` for a level above what fits into the kernel, in pixels."""
        level = getattr(self, name)
        if max(np.atleast_1d(level)) > most:
            raise ConfigError(
                f"{type(self).__name__}.{name} = {level}: must be at most {formula} = {most} "
                "pixels."
            )


@dataclass(frozen=True)
class GaussianKernel(SquareKernel):
    """h(u, v) ∝ exp(−(u² + v²) / 2σ²), at the centres of the pixels.

    Args:
        size: height and width in pixels, odd; 6σ + 1 holds all but 0.3 % of the mass.
        sigma: σ > 0 in pixels; a number, or a range to sample from per image.
    """

    sigma: Level = bounded(accepted=positive, note="in pixels", level=True)

    def sample(self, draws: Draws) -> Tensor:
        u = _offsets(self.size, draws)
        sigma = level_column(self.sigma, draws, "sigma")
        h = torch.exp(-(u[:, None] ** 2 + u**2) / (2 * sigma**2))
        return h / h.sum((-2, -1), keepdim=True)


@dataclass(frozen=True)
class DiskKernel(SquareKernel):
    """h(u, v) ∝ min(1, max(0, r + ½ − √(u² + v²))): out of focus, with a soft edge of one pixel.

    Args:
        size: height and width in pixels, odd.
        radius: r in pixels, 0 ≤ r ≤ (size − 1) / 2; a number, or a range to sample from per image.
    """

    radius: Level = bounded(accepted=nonnegative, note="in pixels", level=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_at_most("radius", (self.size - 1) / 2, "(size - 1) / 2")

    def sample(self, draws: Draws) -> Tensor:
        u = _offsets(self.size, draws)
        radius = level_column(self.radius, draws, "radius")
        h = (radius + 0.5 - (u[:, None] ** 2 + u**2).sqrt()).clamp(0, 1)
        return h / h.sum((-2, -1), keepdim=True)


@dataclass(frozen=True)
class MotionKernel(SquareKernel):
    """p(t) = ∫₀ᵗ L (cos φ, sin φ) ds, φ(s) = φ₀ + bend · W(s): the path of a shaken camera.

    W is a Brownian motion on [0, 1] and φ₀ is uniform, so the path is smooth, of length L, and
    never leaves a disk of radius L / 2 around its centroid. The exposure is spread along it with
    bilinear weights, which keeps the centroid at the central pixel.

    Args:
        size: height and width in pixels, odd.
        length: L in pixels, 0 < L ≤ size − 1; a number, or a range to sample from per image.
        bend: standard deviation of the angle turned from end to end, in radians; 0 is a straight
            line.

    Source: Boracchi and Foi, Modeling the performance of image restoration from motion blur, TIP 21
    (2012), section III-A; with a constant speed and no impulsive shakes, so that three numbers with
    units describe the distribution.
    """

    length: Level = bounded(accepted=positive, note="in pixels", level=True)
    bend: float | int = bounded(2.0, nonnegative, "in radians")

    is_deterministic = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_at_most("length", self.size - 1, "size - 1")

    def sample(self, draws: Draws) -> Tensor:
        return draws.each("path", lambda g, _: self._one(g)[None])

    def _one(self, g: np.random.Generator) -> np.ndarray:
        """The kernel of one image, (size, size)."""
        steps = 16 * self.size
        low, high = np.broadcast_to(self.length, 2)
        length = g.uniform(low, high)
        turn = self.bend * np.cumsum(g.standard_normal(steps)) / math.sqrt(steps)
        angle = g.uniform(0, 2 * math.pi) + turn
        path = np.cumsum([np.cos(angle), np.sin(angle)], axis=1) * (length / steps)
        return splat(path - path.mean(1, keepdims=True), self.size)


def splat(path: np.ndarray, size: int) -> np.ndarray:
    """Spread the points of `path` (2, n), in pixels from the centre, with bilinear weights."""
    place = path + (size - 1) / 2
    corner = np.clip(np.floor(place).astype(np.int64), 0, size - 2)
    part = place - corner
    weights = np.stack([1 - part, part])
    rows, columns = np.arange(2)[:, None], np.arange(2)[None, :]
    index = (corner[0] + rows[..., None]) * size + corner[1] + columns[..., None]
    shares = weights[:, None, 0] * weights[None, :, 1]
    h = np.bincount(index.ravel(), shares.ravel(), size * size)
    return np.asarray((h / h.sum()).reshape(size, size))


def _offsets(size: int, draws: Draws) -> Tensor:
    """−(size − 1)/2 … (size − 1)/2: the pixels, from the centre."""
    return torch.arange(size, dtype=draws.dtype, device=draws.device) - (size - 1) / 2


FIRST_ZERO = 3.8317059702075125
"""Of the Bessel function J₁: where the Airy pattern is dark for the first time."""


@dataclass(frozen=True)
class LensKernel(SquareKernel):
    """h(u) ∝ |∫₀¹ exp(2πiWρ²) J₀(vρ) ρ dρ|², v = 3.83 |u| / r: a round lens, W waves out of focus.

    At W = 0 it is the pattern of Airy, (2 J₁(v) / v)², dark for the first time at |u| = r, which is
    1.22 λN over the size of a pixel for a lens of f-number N. It is taken at the centres of the
    pixels and cut to the kernel.

    Args:
        size: height and width in pixels, odd.
        radius: r in pixels, positive, at most size; a number, or a range to sample from per image.
        defocus: W ≥ 0 in wavelengths at the edge of the lens, at most 5; a number or a range.

    Source: Born and Wolf, Principles of Optics, 7th edition (1999), section 8.8.1, equation 9.
    """

    radius: Level = bounded(accepted=positive, note="in pixels", level=True)
    defocus: Level = bounded((0.0, 1.5), inside("[0, 5]"), "in wavelengths", level=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_at_most("radius", self.size, "size")

    def sample(self, draws: Draws) -> Tensor:
        """In double precision until the end: the integrand turns many times."""
        own = replace(draws, dtype=torch.float64, device="cpu")
        own = own.take([0]) if self.is_deterministic else own
        radius = level_per_image(self.radius, own, "radius")
        defocus = level_per_image(self.defocus, own, "defocus")
        tables = [lens(self.size, r, w) for r, w in zip(radius, defocus, strict=True)]
        return torch.stack(tables)[:, None].to(device=draws.device, dtype=draws.dtype)


def lens(size: int, radius: float, defocus: float) -> Tensor:
    """(size, size), of sum 1, by the quadrature of Gauss and Legendre."""
    v = FIRST_ZERO * _distances(size)[0].sqrt() / radius
    # A node for every radian of the phases at the rim, and 32 more: exact to rounding.
    count = 32 + math.ceil(float(v.max()) + 2 * math.pi * defocus)
    count += -count % 16  # few sizes, which are remembered
    rho = _nodes(count)[0]
    waves = _waves(size, radius, count)
    angle = 2 * math.pi * defocus * rho**2
    h: Tensor = ((waves @ angle.cos()) ** 2 + (waves @ angle.sin()) ** 2)[_distances(size)[1]]
    return h / h.sum()


@lru_cache(maxsize=8)
def _distances(size: int) -> tuple[Tensor, Tensor]:
    """The different |u|² of the pixels, and which of them is that of each."""
    u = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    squared, place = torch.unique(u[:, None] ** 2 + u**2, return_inverse=True)
    return squared, place


@lru_cache(maxsize=32)
def _nodes(count: int) -> tuple[Tensor, Tensor]:
    """The nodes ρ in (0, 1), and their weights but for a factor."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights)


@lru_cache(maxsize=8)
def _waves(size: int, radius: float, count: int) -> Tensor:
    """J₀(vρ) ρ and the weight of every node, for the different distances; no defocus in it."""
    rho, weights = _nodes(count)
    v = FIRST_ZERO * _distances(size)[0].sqrt() / radius
    return bessel(v[:, None] * rho) * (weights * rho)


def bessel(z: Tensor) -> Tensor:
    """J₀(z), the mean of cos(z cos θ): exact to rounding, where torch.special gives 8 digits."""
    count = 24 + math.ceil(float(z.max()) / 2)
    theta = math.pi * (torch.arange(count, dtype=z.dtype) + 0.5) / count
    return (z[..., None] * theta.cos()).cos().mean(-1)
