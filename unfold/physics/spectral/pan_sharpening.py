"""Pan-sharpening: a coarse image of all bands and a fine one of their weighted sum."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from unfold.errors import ConfigError, ShapeError
from unfold.physics.blur.blur import KernelPhysics
from unfold.physics.blur.super_resolution import Downsampling, check_factor
from unfold.physics.operator import LinearOperator
from unfold.physics.spectral.colour import WeightedChannels
from unfold.random import Draws
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class CoarseAndGrey(LinearOperator):
    """Ax = (Dx, Σ_c w_c x_c): D blurs and samples every band alike.

    A*A = D*D + ww*. The two act on different axes: along w/|w| it is D*D + |w|², across it D*D,
    so that all the closed forms of D serve.

    Args:
        coarse: D, whose kernel is shared by the channels; s is its factor.
        grey: w. One measurement is (C + s², H / s, W / s): the coarse image, and behind it the s²
            pixels of each block of the fine one, row by row.

    Raises:
        ShapeError: the kernel is not shared, or the two act on different images.
    """

    coarse: Downsampling
    grey: WeightedChannels

    def __post_init__(self) -> None:
        if self.coarse.kernel.shape[1] != 1 or self.coarse.image_shape != self.grey.image_shape:
            raise ShapeError(
                f"CoarseAndGrey: one kernel for all channels of {self.grey.image_shape} is needed, "
                f"got {tuple(self.coarse.kernel.shape)} for {self.coarse.image_shape}."
            )

    @property
    def image_shape(self) -> Shape:
        return self.coarse.image_shape

    @property
    def measurement_shape(self) -> Shape:
        channels, height, width = self.coarse.measurement_shape
        return channels + self.coarse.factor**2, height, width

    def forward(self, x: Image) -> Measurement:
        fine = pixel_unshuffle(self.grey.forward(x), self.coarse.factor)
        return torch.cat([self.coarse.forward(x), fine], 1)

    def adjoint(self, y: Measurement) -> Image:
        coarse, fine = self.split(y)
        return self.coarse.adjoint(coarse) + self.grey.adjoint(fine)

    def normal(self, x: Image) -> Image:
        """D*Dx + w w*x."""
        return self.coarse.normal(x) + self.grey.normal(x)

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: float | None = None
    ) -> Image:
        """Along w/|w| (1 + γ|w|² + γD*D)⁻¹b, across it (1 + γD*D)⁻¹b."""
        along = self._along(b)
        weight = 1 + gamma * self.grey.squared
        own = self.coarse.solve_normal(along, (gamma / weight).expand(len(b), 1, 1, 1)) / weight
        return own + self.coarse.solve_normal(b - along, gamma)

    @cached_property
    def norm_squared(self) -> PerImage:
        """‖D‖² + |w|²."""
        return self.coarse.norm_squared + self.grey.norm_squared

    def pseudo_inverse(self, y: Measurement) -> Image:
        """Along w/|w| (|w|² + D*D)⁻¹A*y, across it D⁺ of the coarse image."""
        along, squared = self._along(self.adjoint(y)), self.grey.squared
        own = self.coarse.solve_normal(along, (1 / squared).expand(len(y), 1, 1, 1)) / squared
        coarse, _ = self.split(y)
        return own + self.coarse.pseudo_inverse(coarse - self._along(coarse))

    def split(self, y: Measurement) -> tuple[Tensor, Tensor]:
        """The coarse image of all bands, and the fine grey one."""
        bands = self.image_shape[0]
        return y[:, :bands], pixel_shuffle(y[:, bands:], self.coarse.factor)

    def _along(self, x: Tensor) -> Tensor:
        """The part of the channels along w."""
        w = self.grey.weights
        return w * ((w * x).sum(1, keepdim=True) / self.grey.squared)


@dataclass(frozen=True)
class PanSharpening(KernelPhysics):
    """y = ((h * x_c)[::s, ::s] for every band c, Σ_c w_c x_c) with noise, periodic boundaries.

    A grey image has one band, which the fine picture shows as it is.

    Args:
        noise: added to both pictures.
        kernel: the law of h, the anti-aliasing filter of the coarse sensor, or the file of one.
        factor: s, a whole number ≥ 1, which divides the height and the width of the images.
        weights: w, what the fine sensor sees of each band; finite, not all 0. 1/C each if None.

    Raises:
        ConfigError: the factor is not a whole number of at least 1, or the weights are all 0.

    Source: Vivone et al., A critical comparison among pansharpening algorithms, IEEE Trans.
    Geoscience and Remote Sensing 53 (2015), section II.
    """

    factor: int = 4
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor("PanSharpening", self.factor)
        if self.weights is None:
            return
        weights = tuple(float(w) for w in self.weights)
        if not 0 < sum(w**2 for w in weights) < float("inf"):
            raise ConfigError(
                f"PanSharpening.weights = {list(weights)}: must be finite and not all 0, one for "
                "each channel, or null for equal ones."
            )
        object.__setattr__(self, "weights", weights)

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, s · h, s · w)."""
        channels, height, width = measurement_shape
        return channels - self.factor**2, self.factor * height, self.factor * width

    def sample(self, draws: Draws, shape: Shape) -> CoarseAndGrey:
        """One kernel per image, shared by its channels.

        Raises:
            ShapeError: the factor does not divide the image, the kernel is larger than it, or it
                does not have as many channels as there are weights.
        """
        own = self.weights if self.weights is not None else (1 / shape[0],) * shape[0]
        if len(own) != shape[0]:
            raise ShapeError(
                f"PanSharpening: images of {shape[0]} channels and {len(own)} weights; set "
                f"data.channels={len(own)}, or physics.weights=null."
            )
        coarse = Downsampling(self.kernels.draw(draws.within("kernel")), shape, self.factor)
        weights = torch.tensor(own, dtype=draws.dtype, device=draws.device).reshape(1, -1, 1, 1)
        return CoarseAndGrey(coarse, WeightedChannels(weights, shape))
