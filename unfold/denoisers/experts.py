"""Fields of experts with radial basis functions, as in TNRD and CSF."""

import math

import torch
from torch import Tensor, nn

from unfold.denoisers.ridge import Ridge, RidgePotential, expect_ridge
from unfold.errors import ConfigError
from unfold.typing import Image, Scalar

FINE = 50
"""Points of the table of a function between two of its Gaussians, as the paper's program takes."""


class FieldOfExperts(RidgePotential):
    """R(x) = Σ ρ_i(k_i ∗ x), ρ_i' = Σ_j w_ij exp(−(z − μ_j)²/2γ²); D(v) = v − ∇R(v).

    k_i = Bc_i/‖c_i‖, B the cosine basis without the constant. The Gaussians are γ apart, around 0;
    between points γ/50 apart ρ_i'' is linear. The filters act on each channel separately, and see
    the last row and column repeated.

    Args:
        channels: C of the images.
        filters: how many.
        size: of the filters; with size² − 1 of 63 Gaussians TNRD has 10,445 weights in five stages.
        knots: Gaussians of each function, odd; 63 in TNRD, 53 in CSF.
        spacing: γ, in units of an image in [0, 1]; 10 of 255.

    Source: Chen and Pock, Trainable nonlinear reaction diffusion, TPAMI 39 (2017), sections 2 and
    4; Schmidt and Roth, Shrinkage fields for effective image restoration, CVPR 2014, section 4.
    """

    replicates = True

    def __init__(
        self,
        channels: int = 3,
        filters: int = 24,
        size: int = 5,
        knots: int = 63,
        spacing: float = 10 / 255,
    ) -> None:
        expect_experts("FieldOfExperts", channels, filters, size, knots, spacing)
        super().__init__()
        self.channels, self.spacing = channels, spacing
        self.coefficients = nn.Parameter(initial_filters(filters, size))
        centres = spacing * (torch.arange(knots) - knots // 2)
        # Near zero, and of the shape of the influence function of a heavy-tailed density.
        start = 0.02 * centres / (1 + (centres / 0.1) ** 2)
        self.weights = nn.Parameter(start.repeat(filters, 1))

    def derived(self) -> Ridge:
        unit = self.coefficients / self.coefficients.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return gaussian_mixture(synthesised(unit), self.weights, self.spacing)

    def lipschitz(self, sigma: Scalar) -> Scalar:
        """None is known: repeated rows and columns count several times."""
        return math.inf

    def forward(self, v: Image, sigma: Scalar) -> Image:
        return v - self.grad(v, sigma)

    def images(self, x: Image) -> Tensor:
        """(BC, 1, H, W): every channel is an image."""
        return super().images(x).reshape(-1, 1, *x.shape[2:])


def cosine_basis(n: int) -> Tensor:
    """(n² − 1, n²): the orthonormal cosines of an n×n patch, without the constant; in float64."""
    i = torch.arange(n, dtype=torch.float64)
    k = i[:, None]
    rows = (math.pi * k * (2 * i + 1) / (2 * n)).cos() * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return torch.kron(rows, rows)[1:]


def expect_experts(
    owner: str, channels: int, filters: int, size: int, knots: int, spacing: float
) -> None:
    """Refuse sizes without meaning."""
    expect_ridge(owner, channels, (filters,), size, knots, 255)
    if not (spacing > 0 and size > 1):
        raise ConfigError(f"{owner}.spacing = {spacing}, size = {size}: above 0, and 3 or more.")


def initial_filters(filters: int, size: int) -> Tensor:
    """(filters, size² − 1): the members of the cosine basis one after the other."""
    return torch.eye(size**2 - 1).repeat(1 + filters // size**2, 1)[:filters]


def synthesised(coefficients: Tensor) -> Tensor:
    """(F, 1, n, n): filters in the cosine basis without the constant."""
    filters, n = len(coefficients), math.isqrt(coefficients.shape[1] + 1)
    return (coefficients @ cosine_basis(n).to(coefficients)).reshape(filters, 1, n, n)


def gaussian_mixture(k: Tensor, weights: Tensor, spacing: float) -> Ridge:
    """Filters k with Σ_j w_ij exp(−(z − μ_j)²/2γ²) of each, γ the spacing of the μ_j around 0."""
    knots = weights.shape[1]
    tail = 6 * FINE  # where the outermost Gaussians have fallen to 1e-8
    reach = (knots // 2) * FINE + tail
    z = torch.arange(-reach, reach + 1).to(k) / FINE
    centres = (torch.arange(knots) - knots // 2).to(k)
    offset = z - centres[:, None]
    slopes = weights @ (-offset * (-0.5 * offset**2).exp()) / spacing
    start = weights @ (-0.5 * centres[:, None] ** 2).exp()
    return Ridge((k,), slopes, reach / FINE * spacing, order=1, start=start)
