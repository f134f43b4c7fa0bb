"""Super-resolution: the image is blurred and sampled on a coarser grid."""

from dataclasses import dataclass

from unfold.physics.downsampling import Downsampling, check_factor
from unfold.physics.kernel_physics import KernelPhysics
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class SuperResolution(KernelPhysics):
    """y = (h * x)[::s, ::s] with noise, periodic boundaries.

    Args:
        noise: added to the coarse image.
        kernel: the law of h, the anti-aliasing filter, or the file of one kernel.
        factor: s, a whole number ≥ 1, which divides the height and the width of the images.

    Raises:
        ConfigError: the factor is not a whole number of at least 1.
    """

    factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor("SuperResolution", self.factor)

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, s · h, s · w)."""
        channels, height, width = measurement_shape
        return channels, self.factor * height, self.factor * width

    def sample(self, draws: Draws, shape: Shape) -> Downsampling:
        """One kernel per image, shared by its channels.

        Raises:
            ShapeError: the factor does not divide the image, or the kernel is larger than it.
        """
        return Downsampling(self.kernels.draw(draws.within("kernel")), shape, self.factor)
