"""The kernel of a lens: diffraction and defocus."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from unfold.parameters.bounds import bounded, inside, positive
from unfold.physics.blur.kernels import SquareKernel
from unfold.physics.levels import Level, level_per_image
from unfold.random import Draws

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
    defocus: Level = bounded(0.0, inside("[0, 5]"), "in wavelengths", level=True)

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
