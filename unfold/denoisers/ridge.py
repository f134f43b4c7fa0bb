"""Ridge regularisers R(x, σ) = Σ ψ(Wx): learned filters and learned functions of one variable."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.parameters.declare import MOST_WEIGHTS
from unfold.typing import Image, PerImage, Scalar

GRID = 256
"""Frequencies per axis at which the norm of a convolution is taken."""


class Potential(Denoiser, ABC):
    """R(x, σ), a function of images with a gradient; as a denoiser, a step of gradient descent.

    D(v, σ) = v − ∇R(v, σ)/(1 + L): from v towards the minimum of ½‖x − v‖² + R(x, σ), L a Lipschitz
    constant of ∇R.
    """

    convex: bool = False
    """Whether R is convex for all its weights."""

    @abstractmethod
    def value(self, x: Image, sigma: Scalar) -> PerImage:
        """R(x, σ) of each image."""

    @abstractmethod
    def grad(self, x: Image, sigma: Scalar) -> Image:
        """∇R(x, σ)."""

    @abstractmethod
    def lipschitz(self, sigma: Scalar) -> Scalar:
        """L(σ), of images that continue periodically."""

    def forward(self, v: Image, sigma: Scalar) -> Image:
        return v - self.grad(v, sigma) / (1 + self.lipschitz(sigma))


class Ridge(NamedTuple):
    """R(x) = Σ (a/c) S(c Wx), S the integral of a spline s: ∇R(x) = Wᵀ a s(c Wx).

    weights: of the convolutions of which W is the product.
    table: (F or 1, K), values at equally spaced knots from −radius to radius.
    order: s is linear between them; or, with order 1, the integral of that, s(0) = start.
    """

    weights: tuple[Tensor, ...]
    table: Tensor
    radius: float
    a: Scalar = 1.0
    c: Scalar = 1.0
    order: int = 0
    start: Tensor | float = 0.0

    @property
    def slopes(self) -> Tensor:
        """(F or 1, K − 1): the derivative of s between the knots."""
        return self.table.diff(dim=1) / (2 * self.radius / (self.table.shape[1] - 1))


class RidgePotential(Potential):
    """A potential made of filters and splines.

    Filters see zeros beyond the border, or, with `replicates`, the last row and column repeated.
    """

    replicates: bool = False

    @abstractmethod
    def derived(self) -> Ridge:
        """The function without what depends on σ."""

    def at(self, derived: Ridge, sigma: Scalar) -> Ridge:
        """The same with what does."""
        return derived

    def ridge(self, sigma: Scalar) -> Ridge:
        """The function at a noise level."""
        return self.at(self.once(), sigma)

    def images(self, x: Image) -> Tensor:
        """What the filters act on."""
        self.expect(x)
        return x

    def value(self, x: Image, sigma: Scalar) -> PerImage:
        R = self.ridge(sigma)
        u = R.c * analyse(R.weights, self.images(x), self.replicates)
        each = R.a / R.c * spline(R.table, R.radius, u, R.order + 1, R.start)
        return each.reshape(len(x), -1).sum(1)

    def grad(self, x: Image, sigma: Scalar) -> Image:
        R = self.ridge(sigma)
        u = R.c * analyse(R.weights, self.images(x), self.replicates)
        u = R.a * spline(R.table, R.radius, u, R.order, R.start)
        return synthesise(R.weights, u, self.replicates).reshape(x.shape)

    def lipschitz(self, sigma: Scalar) -> Scalar:
        R, kept = self.ridge(sigma), vars(self)
        if (bound := kept.get("_bound")) is None:
            with torch.enable_grad():  # an equilibrium, found without one, has a gradient then
                steepest = R.slopes.abs().amax(1).sqrt().reshape(-1, 1, 1, 1)
                *inner, last = R.weights
                bound = norm_squared((*inner, steepest * last))
            if "_derived" in kept:
                kept["_bound"] = bound
        found: Tensor = R.a * R.c * bound
        return found.amax(1, keepdim=True) if found.ndim == 4 else found


class ConvexRidge(RidgePotential):
    """R(x) = (λ/μ) Σ ψ(μWx), every ψ convex: ψ' is an increasing linear spline of its own.

    W is a product of convolutions with zero mean, and ψ' is constant beyond its range. The names
    and sizes are those of the paper; λ and μ are at least 1e-4 and 0.01.

    Args:
        channels: C of the images.
        features: of the convolutions; (8, 32) in the paper, 13,610 weights for gray images.
        size: of their kernels, odd.
        knots: of each spline, odd.
        radius: the splines vary on [−radius, radius].

    Source: Goujon et al., A neural-network-based convex regularizer for inverse problems, IEEE
    Trans. Comput. Imaging 9 (2023), sections III and IV.
    """

    convex = True

    def __init__(
        self,
        channels: int = 3,
        features: Sequence[int] = (8, 32),
        size: int = 7,
        knots: int = 21,
        radius: float = 0.1,
    ) -> None:
        expect_ridge("ConvexRidge", channels, features, size, knots)
        if not radius > 0:
            raise ConfigError(f"ConvexRidge.radius = {radius}: must be positive.")
        super().__init__()
        self.channels, self.radius = channels, radius
        self.filters = _filters(channels, features, size)
        # Small slopes: the potential starts near zero.
        grid = 0.02 * torch.linspace(-radius, radius, knots)
        self.coefficients = nn.Parameter(grid.repeat(features[-1], 1))
        self.strength = nn.Parameter(torch.tensor(5.0))
        self.scale = nn.Parameter(torch.tensor(1.0))

    def derived(self) -> Ridge:
        weights = tuple(_zero_mean(W) for W in self.filters)
        table = _increasing(self.coefficients, math.inf)
        table = table - table[:, table.shape[1] // 2, None]
        lam, mu = self.strength.clamp(min=1e-4), self.scale.clamp(min=0.01)
        return Ridge(weights, table, self.radius, lam, mu)


class WeaklyConvexRidge(RidgePotential):
    """R(x, σ) = Σ (1/c²) (μψ₊(cWx) − ρψ₋(cWx)), with ψ₊ and ψ₋ convex and ‖W‖ = 1.

    ψ₊' and ψ₋' are odd linear splines with slopes in [0, 1], shared by all filters, so that R is
    ρ-weakly convex and ½‖x − v‖² + R(x, σ) is convex for ρ = 1. c(σ) of each filter is exp of a
    linear spline of σ, over σ. The names and sizes are those of the paper; the splines are stored
    in units of 0.002, so that one learning rate serves all weights.

    Args:
        channels: C of the images.
        features: of the convolutions; (4, 8, 60) in the paper, with `size` 5, 13,763 weights for
            gray images.
        size: of their kernels, odd.
        knots: of ψ₊' and ψ₋' on [−0.1, 0.1], odd.
        levels: knots of c on [0, 30/255].
        rho: ρ; 0 makes R convex.

    Source: Goujon, Neumayer and Unser, Learning weakly convex regularizers for convergent
    image-reconstruction algorithms, SIAM J. Imaging Sci. 17 (2024), sections 3 and 4; ‖W‖ is taken
    at 256² frequencies in evaluation, too.
    """

    uses_sigma = True
    RADIUS, HIGHEST, UNIT = 0.1, 30.0, 0.002

    def __init__(
        self,
        channels: int = 3,
        features: Sequence[int] = (32,),
        size: int = 7,
        knots: int = 101,
        levels: int = 11,
        rho: float = 1.0,
    ) -> None:
        expect_ridge("WeaklyConvexRidge", channels, features, size, knots)
        if not (0 <= rho < math.inf and 2 <= levels <= 1000):
            raise ConfigError(
                f"WeaklyConvexRidge.rho = {rho}, levels = {levels}: at least 0, and 2 to 1000."
            )
        super().__init__()
        self.channels, self.rho, self.convex = channels, rho, rho == 0
        self.filters = _filters(channels, features, size)
        grid = torch.linspace(-self.RADIUS, self.RADIUS, knots)[None] / self.UNIT
        self.convex_part = nn.Parameter(0.02 * grid)
        self.concave_part = nn.Parameter(0.9 * grid)
        self.log_mu = nn.Parameter(torch.tensor(4.0))
        self.scaling = nn.Parameter(torch.full((features[-1], levels), 5.0))

    def derived(self) -> Ridge:
        first, *rest = self.filters
        weights = (_zero_mean(first), *rest)
        size = norm_squared(weights).clamp(min=1e-12).sqrt()
        most = 2 * self.RADIUS / (self.convex_part.shape[1] - 1)
        stored = (self.convex_part, self.concave_part)
        parts = (_increasing(self.UNIT * one, most) for one in stored)
        up, down = (0.5 * (one - one.flip(1)) for one in parts)
        table = self.log_mu.exp() * up - self.rho * down
        return Ridge((weights[0] / size, *rest), table, self.RADIUS)

    def at(self, derived: Ridge, sigma: Scalar) -> Ridge:
        # The paper's levels are of 8-bit intensities.
        like = self.scaling
        level = 255 * torch.as_tensor(sigma, dtype=like.dtype, device=like.device)
        level = level.reshape(-1, 1, 1, 1)
        half = self.HIGHEST / 2
        wide = (level - half).expand(-1, len(self.scaling), 1, 1)
        c = spline(self.scaling, half, wide).exp() / (level + 1e-5)
        return derived._replace(a=1 / c, c=c)


def analyse(weights: Sequence[Tensor], x: Tensor, replicates: bool = False) -> Tensor:
    """Wx: convolutions one after the other."""
    for w in weights:
        p = w.shape[-1] // 2
        x = conv2d(pad(x, (p,) * 4, mode="replicate" if replicates else "constant"), w)
    return x


def synthesise(weights: Sequence[Tensor], u: Tensor, replicates: bool = False) -> Tensor:
    """Wᵀu."""
    for w in reversed(weights):
        p = w.shape[-1] // 2
        u = conv_transpose2d(u, w, padding=0 if replicates else p)
        for axis in (-2, -1) if replicates else ():
            u = _fold(u, p, axis)
    return u


def _fold(u: Tensor, p: int, axis: int) -> Tensor:
    """The adjoint of repeating the first and the last entry p times."""
    place = torch.arange(u.shape[axis], device=u.device) - p
    size = list(u.shape)
    size[axis] -= 2 * p
    place = place.clamp(0, size[axis] - 1)
    folded: Tensor = u.new_zeros(size).index_add(u.ndim + axis, place, u)
    return folded


def norm_squared(weights: Sequence[Tensor], grid: int = GRID) -> Tensor:
    """‖W‖² of convolutions of periodic images: the largest over the frequencies of a grid."""
    channels = weights[0].shape[1]
    reach = sum(w.shape[-1] // 2 for w in weights)
    one = torch.eye(channels, dtype=weights[0].dtype, device=weights[0].device)[..., None, None]
    kernel = synthesise(weights, analyse(weights, pad(one, (2 * reach,) * 4)))
    transfer = torch.fft.rfft2(kernel, s=(max(grid, 4 * reach + 1),) * 2).permute(2, 3, 0, 1)
    sizes: Tensor = transfer.abs() if channels == 1 else torch.linalg.matrix_norm(transfer, 2)
    return sizes.amax()


def _cell(table: Tensor, radius: float, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The knot left of each value, flat per channel; the distance to it in steps; and its index."""
    K = table.shape[1]
    t = (u.to(table.dtype) + radius) * ((K - 1) / (2 * radius))
    # What is not finite has a cell, too: NaN is not above 0.
    i = torch.where(t > 0, t.detach(), 0.0).clamp(max=K - 2).long()
    return (t - i), i, table.expand(u.shape[1], K)


def _take(table: Tensor, i: Tensor) -> Tensor:
    """table[channel, i] for every pixel."""
    flat = i.flatten(2)
    return table.expand(len(flat), -1, -1).gather(2, flat).reshape(i.shape)


def spline(
    table: Tensor, radius: float, u: Tensor, order: int = 0, start: Tensor | float = 0.0
) -> Tensor:
    """s(u) of u (B, F, H, W), linear between equally spaced knots and beyond the last two.

    With order 1 its integral from 0, plus `start`; with order 2 the integral of that.
    """
    f, i, s = _cell(table, radius, u)
    h, d = 2 * radius / (table.shape[1] - 1), s.diff(dim=1)
    left, rise = _take(s, i), f * _take(d, i)
    if order == 0:
        return left + rise
    first = _from_centre(0.5 * h * (s[:, 1:] + s[:, :-1])) + start
    once = _take(first, i)
    if order == 1:
        return once + h * f * (left + rise / 2)
    second = _from_centre(h * first[:, :-1] + h**2 * (s[:, :-1] / 2 + d / 6))
    return _take(second, i) + h * f * (once + h * f * (left / 2 + rise / 6))


def _from_centre(steps: Tensor) -> Tensor:
    """Values at the knots, 0 at the central one."""
    sums = pad(steps.cumsum(1), (1, 0))
    return sums - sums[:, sums.shape[1] // 2, None]


def _increasing(values: Tensor, steepest: float) -> Tensor:
    """The values with steps in [0, steepest], and none at both ends; the first is 0."""
    steps = values.diff(dim=1)[:, 1:-1].clamp(0, steepest)
    return pad(pad(steps, (1, 1)).cumsum(1), (1, 0))


def _filters(channels: int, features: Sequence[int], size: int) -> nn.ParameterList:
    """Random convolutions whose product has norm 1."""
    made = [nn.Conv2d(a, b, size, bias=False) for a, b in pairwise([channels, *features])]
    layers = [_zero_mean(one.weight.detach()) for one in made]
    share = norm_squared(layers, 64).sqrt() ** (1 / len(layers))
    return nn.ParameterList([nn.Parameter(w / share) for w in layers])


def _zero_mean(w: Tensor) -> Tensor:
    return w - w.mean((1, 2, 3), keepdim=True)


def expect_ridge(
    owner: str, channels: int, features: Sequence[int], size: int, knots: int, most: int = 10_001
) -> None:
    """Refuse sizes without meaning, and those that no machine holds."""
    named = (("size", size, 1, 31), ("knots", knots, 3, most))
    counts = [("channels", channels), *((f"features[{i}]", n) for i, n in enumerate(features))]
    for name, value, least, largest in (*named, *((name, n, 1, 1024) for name, n in counts)):
        if not least <= value <= largest or (value % 2 == 0 and name in ("size", "knots")):
            odd = ", odd" if name in ("size", "knots") else ""
            raise ConfigError(f"{owner}.{name} = {value}: must be {least} to {largest}{odd}.")
    weights = size**2 * sum(a * b for a, b in pairwise([channels, *features]))
    if not 1 <= len(features) <= 8 or weights > MOST_WEIGHTS:
        raise ConfigError(
            f"{owner}.features = {features}: 1 to 8 numbers, of {MOST_WEIGHTS:.0e} weights at most."
        )
