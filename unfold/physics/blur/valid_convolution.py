"""Convolution without any assumption about what lies outside the image."""

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor
from torch.nn.functional import pad

from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.operator import LinearOperator, Operator
from unfold.typing import Image, Measurement, PerImage, Shape


@dataclass(frozen=True, eq=False)
class ValidConvolution(LinearOperator):
    """Ax = crop(h * x): the pixels of the convolution that need nothing from outside the image.

    Away from the border the periodic convolution is the plain one, so that both transforms of
    `CircularConvolution` serve here: measured against a grouped `conv2d` on one core, 13 x 13
    pixels, 8 x 1 x 64 x 64, it takes 0.16 against 0.24 ms (float32) and 0.4 against 2.0 ms
    (float64), and its cost does not grow with the kernel. There is no closed form: the solves are
    by conjugate gradients, and the pseudo-inverse by CGLS, which warns where h is ill-conditioned.

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
        """The same convolution with periodic boundaries."""
        return CircularConvolution(self.kernel, self.image_shape)

    @property
    def measurement_shape(self) -> Shape:
        (channels, height, width), (kh, kw) = self.image_shape, self.kernel.shape[-2:]
        return channels, height - kh + 1, width - kw + 1

    @property
    def abs_operator(self) -> Operator:
        """With |h|."""
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
