"""Blur: the image convolved with a kernel that is fixed or drawn for every image."""

from dataclasses import dataclass

from unfold.physics.convolution import CircularConvolution
from unfold.physics.kernels import Kernel
from unfold.physics.law import Physics
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
