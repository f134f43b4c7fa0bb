"""Super-resolution: the image is blurred and sampled on a coarser grid."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.parameters.bounds import Declared, bounded, whole
from unfold.physics.blur.blur import KernelPhysics
from unfold.physics.blur.convolution import CircularConvolution, filtered, invert
from unfold.physics.closed_forms import ClosedForm
from unfold.physics.operator import Operator
from unfold.pytree import Derived
from unfold.random import Draws
from unfold.typing import Image, Measurement, PerImage, Scalar, Shape


@dataclass(frozen=True, eq=False)
class Downsampling(Declared, ClosedForm):
    """Ax = (h * x)[::s, ::s], periodic boundaries.

    AA* is a convolution on the coarse grid: its spectrum at k is the mean of |ĥ|² over the s²
    frequencies that the sampling folds onto k. Hence the closed forms.

    Args:
        kernel: h, real, (B or 1, C or 1, kh, kw), odd sizes; the anti-aliasing filter.
        image_shape: of one image, (C, H, W), H and W divisible by s.
        factor: s, a whole number ≥ 1; pixel 0 of every block is kept.
        rcond: the pseudo-inverse leaves out coarse frequencies where the spectrum of AA* is at most
            rcond² times its largest value.

    Source: Zhao et al., Fast single image super-resolution using a new analytical solution for
    ℓ2–ℓ2 problems, TIP 25 (2016), theorem 1; used in Zhang, Van Gool and Timofte, Deep unfolding
    network for image super-resolution, CVPR 2020, equation 7.
    """

    kernel: Tensor
    image_shape: Shape
    factor: int = bounded(accepted=whole(1))
    rcond: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.circular
        height, width = self.image_shape[1:]
        if height % self.factor or width % self.factor:
            raise ShapeError(
                f"Downsampling: an image of {height} x {width} pixels is not divisible by the "
                f"factor {self.factor}; crop the images to multiples of {self.factor}."
            )

    @cached_property
    def circular(self) -> CircularConvolution:
        """The blur before the sampling."""
        return CircularConvolution(self.kernel, self.image_shape)

    @property
    def measurement_shape(self) -> Shape:
        channels, height, width = self.image_shape
        return channels, height // self.factor, width // self.factor

    @property
    def abs_operator(self) -> Operator:
        return replace(self, kernel=self.kernel.abs())

    def forward(self, x: Image) -> Measurement:
        return self.circular.forward(x)[..., :: self.factor, :: self.factor]

    def adjoint(self, y: Measurement) -> Image:
        fine = y.new_zeros(*y.shape[:-2], *self.image_shape[1:])
        fine[..., :: self.factor, :: self.factor] = y
        return self.circular.adjoint(fine)

    def solve(self, b: Image, gamma: Scalar) -> Image:
        """b − γA*(I + γAA*)⁻¹Ab, the identity of Woodbury."""
        inverse = 1 / (1 + gamma * self._coarse(b))
        return b - gamma * self.adjoint(filtered(inverse, self.forward(b)))

    @cached_property
    def norm_squared(self) -> PerImage:
        """The largest value of the spectrum of AA*, for each sample."""
        return self.folded.detach().flatten(1).amax(1)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """A*(AA*)⁺y."""
        power = self._coarse(y)
        inverse = invert(torch.ones_like(power), power, self.folded, self.rcond)
        return self.adjoint(filtered(inverse, y))

    @Derived
    def folded(self) -> Tensor:
        """The spectrum of AA*, (B or 1, C or 1, H / s, W / s)."""
        s, (_, height, width) = self.factor, self.measurement_shape
        power = self.circular.full_power
        return power.reshape(*power.shape[:2], s, height, s, width).mean((2, 4))

    def _coarse(self, like: Tensor) -> Tensor:
        """The spectrum of AA*, full for complex tensors and half for real ones."""
        folded = self.folded
        return folded if like.is_complex() else folded[..., : folded.shape[-1] // 2 + 1]


@dataclass(frozen=True)
class SuperResolution(KernelPhysics):
    """y = (h * x)[::s, ::s] with noise, periodic boundaries.

    Args:
        noise: added to the coarse image.
        kernel: the distribution of h, the anti-aliasing filter, or the file of one kernel.
        factor: s, a whole number ≥ 1, which divides the height and the width of the images.
    """

    factor: int = bounded(2, whole(1))

    def image_shape(self, measurement_shape: Shape) -> Shape:
        channels, height, width = measurement_shape
        return channels, self.factor * height, self.factor * width

    def sample(self, draws: Draws, shape: Shape) -> Downsampling:
        return Downsampling(self.kernels.sample(draws.within("kernel")), shape, self.factor)
