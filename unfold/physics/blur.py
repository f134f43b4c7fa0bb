"""Blur: the image convolved with a kernel that is fixed or drawn for every image."""

from dataclasses import dataclass

from unfold.physics.algebra import Composed
from unfold.physics.convolution import CircularConvolution
from unfold.physics.kernel_physics import KernelPhysics
from unfold.physics.kernel_shape import check_kernel
from unfold.physics.padding import Padding, check_boundary
from unfold.physics.valid_convolution import ValidConvolution
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class Blur(KernelPhysics):
    """y = h * x with noise, with periodic boundaries: the measurement has the size of the image.

    Args:
        noise: added to the blurred image.
        kernel: the law of h, or the file of one kernel.
    """

    def sample(self, draws: Draws, shape: Shape) -> CircularConvolution:
        """One kernel per image, shared by its channels.

        Raises:
            ShapeError: the kernel is larger than the image.
        """
        return CircularConvolution(self.kernels.draw(draws.within("kernel")), shape)


@dataclass(frozen=True)
class ValidBlur(KernelPhysics):
    """y = crop(h * x) with noise: the measurement loses what the border of the image would need.

    Args:
        noise: added to the blurred image.
        kernel: the law of h, or the file of one kernel.
    """

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, h + kh − 1, w + kw − 1)."""
        (channels, height, width), (kh, kw) = measurement_shape, self.kernels.shape
        return channels, height + kh - 1, width + kw - 1

    def sample(self, draws: Draws, shape: Shape) -> ValidConvolution:
        """One kernel per image, shared by its channels.

        Raises:
            ShapeError: the kernel is larger than the image.
        """
        return ValidConvolution(self.kernels.draw(draws.within("kernel")), shape)


@dataclass(frozen=True)
class PaddedBlur(KernelPhysics):
    """y = crop(h * pad(x)) with noise: the image is continued beyond its border by a rule.

    The measurement has the size of the image. The convolution is the valid one of the continued
    image, and the adjoint folds the border back.

    Args:
        noise: added to the blurred image.
        kernel: the law of h, or the file of one kernel.
        boundary: `reflect`, `replicate` or `symmetric`; `mirror`, `nearest` and `reflect` of
            `scipy.ndimage`.

    Raises:
        ConfigError: the boundary is another.
    """

    boundary: str = "reflect"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_boundary("PaddedBlur", self.boundary)

    def sample(self, draws: Draws, shape: Shape) -> Composed:
        """One kernel per image, shared by its channels.

        Raises:
            ShapeError: the kernel is larger than the image.
        """
        kernel = self.kernels.draw(draws.within("kernel"))
        check_kernel("PaddedBlur", kernel, shape)
        top, left = (size // 2 for size in kernel.shape[-2:])
        pad = Padding(shape, top, left, self.boundary)
        return Composed(ValidConvolution(kernel, pad.measurement_shape), pad)
