"""Blur: the image convolved with a kernel that is fixed or drawn for every image."""

from dataclasses import dataclass

from unfold.physics.convolution import CircularConvolution
from unfold.physics.kernels import Kernel
from unfold.physics.law import Physics
from unfold.physics.valid_convolution import ValidConvolution
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class Blur(Physics):
    """y = h * x with noise, with periodic boundaries: the measurement has the size of the image.

    Args:
        noise: added to the blurred image.
        kernel: the law of h.
    """

    kernel: Kernel

    @property
    def is_fixed(self) -> bool:
        return self.kernel.is_fixed

    def sample(self, draws: Draws, shape: Shape) -> CircularConvolution:
        """One kernel per image, shared by its channels.

        Raises:
            ShapeError: the kernel is larger than the image.
        """
        return CircularConvolution(self.kernel.draw(draws.within("kernel")), shape)


@dataclass(frozen=True)
class ValidBlur(Physics):
    """y = crop(h * x) with noise: the measurement loses what the border of the image would need.

    Args:
        noise: added to the blurred image.
        kernel: the law of h.
    """

    kernel: Kernel

    @property
    def is_fixed(self) -> bool:
        return self.kernel.is_fixed

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, h + kh − 1, w + kw − 1)."""
        (channels, height, width), (kh, kw) = measurement_shape, self.kernel.shape
        return channels, height + kh - 1, width + kw - 1

    def sample(self, draws: Draws, shape: Shape) -> ValidConvolution:
        """One kernel per image, shared by its channels.

        Raises:
            ShapeError: the kernel is larger than the image.
        """
        return ValidConvolution(self.kernel.draw(draws.within("kernel")), shape)
