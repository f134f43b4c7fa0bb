"""Blur: the image convolved with a kernel that is fixed or sampled for every image."""

from abc import ABC
from dataclasses import dataclass
from functools import cached_property

from unfold.parameters.bounds import bounded, one_of
from unfold.physics.algebra import Composed
from unfold.physics.base import Physics
from unfold.physics.blur.convolution import CircularConvolution, ValidConvolution
from unfold.physics.blur.kernel_files import KernelFile
from unfold.physics.blur.kernels import Kernel, check_kernel
from unfold.physics.blur.padding import BOUNDARIES, Padding
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class KernelPhysics(Physics, ABC):
    """A physics whose operators blur with a kernel h.

    Args:
        noise: of the measurement.
        kernel: the distribution of h, or the file of one kernel.
    """

    kernel: Kernel | str

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kernels  # noqa: B018 - a file is read here, so that a bad one is found at once

    @cached_property
    def kernels(self) -> Kernel:
        """The distribution of h; that of the file if one is named."""
        return KernelFile(self.kernel) if isinstance(self.kernel, str) else self.kernel

    @property
    def is_deterministic(self) -> bool:
        return self.kernels.is_deterministic


@dataclass(frozen=True)
class Blur(KernelPhysics):
    """y = h * x with noise, with periodic boundaries: the measurement has the size of the image.

    Args:
        noise: added to the blurred image.
        kernel: the distribution of h, or the file of one kernel.
    """

    def sample(self, draws: Draws, shape: Shape) -> CircularConvolution:
        return CircularConvolution(self.kernels.sample(draws.within("kernel")), shape)


@dataclass(frozen=True)
class ValidBlur(KernelPhysics):
    """y = crop(h * x) with noise: the measurement loses what the border of the image would need.

    Args:
        noise: added to the blurred image.
        kernel: the distribution of h, or the file of one kernel.
    """

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, h + kh − 1, w + kw − 1)."""
        (channels, height, width), (kh, kw) = measurement_shape, self.kernels.shape
        return channels, height + kh - 1, width + kw - 1

    def sample(self, draws: Draws, shape: Shape) -> ValidConvolution:
        return ValidConvolution(self.kernels.sample(draws.within("kernel")), shape)


@dataclass(frozen=True)
class PaddedBlur(KernelPhysics):
    """y = crop(h * pad(x)) with noise: the image is continued beyond its border by a rule.

    The measurement has the size of the image. The convolution is the valid one of the continued
    image, and the adjoint folds the border back.

    Args:
        noise: added to the blurred image.
        kernel: the distribution of h, or the file of one kernel.
        boundary: `reflect`, `replicate` or `symmetric`; `mirror`, `nearest` and `reflect` of
            `scipy.ndimage`.
    """

    boundary: str = bounded("reflect", one_of(*BOUNDARIES))

    def sample(self, draws: Draws, shape: Shape) -> Composed:
        kernel = self.kernels.sample(draws.within("kernel"))
        check_kernel("PaddedBlur", kernel, shape)
        top, left = (size // 2 for size in kernel.shape[-2:])
        pad = Padding(shape, top, left, self.boundary)
        return Composed(ValidConvolution(kernel, pad.measurement_shape), pad)
