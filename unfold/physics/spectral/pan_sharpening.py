"""Pan-sharpening: a coarse image of all bands and a fine one of their weighted sum."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from unfold.errors import ShapeError
from unfold.parameters.bounds import bounded, finite, whole
from unfold.physics.blur.blur import KernelPhysics
from unfold.physics.blur.super_resolution import Downsampling
from unfold.physics.closed_forms import ClosedForm
from unfold.physics.spectral.colour import WeightedChannels, expect_weights
from unfold.pytree import same_as
from unfold.random import Draws
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class CoarseAndGrey(ClosedForm):
    """Ax = (Dx, Σ_c w_c x_c): D blurs and samples every band alike.

    A*A = D*D + ww*. The two act on different axes: along w/|w| it is D*D + |w|², across it D*D,
    so that all the closed forms of D serve.

    Args:
        coarse: D, whose kernel is shared by the channels; s is its factor.
        grey: w. One measurement is (C + s², H / s, W / s): the coarse image, and behind it the s²
            pixels of each block of the fine one, row by row.
    """

    coarse: Downsampling
    grey: WeightedChannels

    def __post_init__(self) -> None:
        if self.coarse.kernel.shape[1] != 1 or self.coarse.image_shape != self.grey.image_shape:
            raise ShapeError(
                f"CoarseAndGrey: one kernel for all channels of {self.grey.image_shape} is needed, "
                f"got {tuple(self.coarse.kernel.shape)} for {self.coarse.image_shape}."
            )

    image_shape = same_as("coarse.image_shape")

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

    def solve(self, b: Image, gamma: Scalar) -> Image:
        """Along w/|w| (1 + γ|w|² + γD*D)⁻¹b, across it (1 + γD*D)⁻¹b."""
        along = self._along(b)
        weight = 1 + gamma * self.grey.power
        own = self.coarse.solve(along, (gamma / weight).expand(len(b), 1, 1, 1)) / weight
        return own + self.coarse.solve(b - along, gamma)

    @cached_property
    def norm_squared(self) -> PerImage:
        return self.coarse.norm_squared + self.grey.norm_squared

    def pseudo_inverse(self, y: Measurement) -> Image:
        """Along w/|w| (|w|² + D*D)⁻¹A*y, across it D⁺ of the coarse image."""
        along, squared = self._along(self.adjoint(y)), self.grey.power
        own = self.coarse.solve(along, (1 / squared).expand(len(y), 1, 1, 1)) / squared
        coarse, _ = self.split(y)
        return own + self.coarse.pseudo_inverse(coarse - self._along(coarse))

    def split(self, y: Measurement) -> tuple[Tensor, Tensor]:
        """The coarse image of all bands, and the fine grey one."""
        bands = self.image_shape[0]
        return y[:, :bands], pixel_shuffle(y[:, bands:], self.coarse.factor)

    def _along(self, x: Tensor) -> Tensor:
        """The part of the channels along w."""
        w = self.grey.weights
        return w * ((w * x).sum(1, keepdim=True) / self.grey.power)


@dataclass(frozen=True)
class PanSharpening(KernelPhysics):
    """y = ((h * x_c)[::s, ::s] for every band c, Σ_c w_c x_c) with noise, periodic boundaries.

    A grey image has one band, which the fine picture shows as it is.

    Args:
        noise: added to both pictures.
        kernel: the distribution of h, the anti-aliasing filter of the coarse sensor, or a file.
        factor: s, a whole number ≥ 1, which divides the height and the width of the images.
        weights: w, the response of the fine sensor to each band; not all 0. 1/C each if None.

    Source: Vivone et al., A critical comparison among pansharpening algorithms, IEEE Trans.
    Geoscience and Remote Sensing 53 (2015), section II.
    """

    photographic = False
    factor: int = bounded(4, whole(1))
    weights: Sequence[float] | None = bounded(None, finite, "one for each channel")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None:
            expect_weights("PanSharpening.weights", self.weights)

    def image_shape(self, measurement_shape: Shape) -> Shape:
        channels, height, width = measurement_shape
        return channels - self.factor**2, self.factor * height, self.factor * width

    def sample(self, draws: Draws, shape: Shape) -> CoarseAndGrey:
        own = self.weights if self.weights is not None else (1 / shape[0],) * shape[0]
        if len(own) != shape[0]:
            raise ShapeError(
                f"PanSharpening: images of {shape[0]} channels and {len(own)} weights; give one "
                "weight for each channel, or none."
            )
        coarse = Downsampling(self.kernels.sample(draws.within("kernel")), shape, self.factor)
        weights = torch.tensor(own, dtype=draws.dtype).to(draws.device).reshape(1, -1, 1, 1)
        return CoarseAndGrey(coarse, WeightedChannels(weights, shape))
