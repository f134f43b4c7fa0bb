"""What the laws that blur have in common: the law of their kernel."""

from abc import ABC
from dataclasses import dataclass
from functools import cached_property

from unfold.physics.fixed_kernels import KernelFile
from unfold.physics.kernels import Kernel
from unfold.physics.law import Physics


@dataclass(frozen=True)
class KernelPhysics(Physics, ABC):
    """A law whose operators blur with a kernel h.

    Args:
        noise: of the measurement.
        kernel: the law of h, or the file of one kernel.
    """

    kernel: Kernel | str

    def __post_init__(self) -> None:
        self.kernels  # noqa: B018 - a file is read here, so that a bad one is found at once

    @cached_property
    def kernels(self) -> Kernel:
        """The law of h; that of the file if one is named."""
        return KernelFile(self.kernel) if isinstance(self.kernel, str) else self.kernel

    @property
    def is_fixed(self) -> bool:
        return self.kernels.is_fixed
