"""What a kernel must look like to blur an image of a given shape."""

from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.typing import Shape


def check_kernel(owner: str, kernel: Tensor, shape: Shape) -> None:
    """Refuse a kernel that does not fit images of `shape`, (C, H, W).

    Raises:
        ShapeError: with the size of the kernel and that of the image.
    """
    if kernel.ndim != 4 or kernel.is_complex() or len(shape) != 3:
        raise ShapeError(
            f"{owner} expects a real kernel (batch or 1, channel or 1, height, width) and a shape "
            f"(channel, height, width), got {tuple(kernel.shape)} of {kernel.dtype} and {shape}."
        )
    if kernel.shape[1] not in (1, shape[0]):
        raise ShapeError(
            f"{owner}: a kernel of {kernel.shape[1]} channels does not fit images of {shape[0]}; "
            "give one channel, or as many as the image has."
        )
    check_odd(owner, kernel.shape[-2], kernel.shape[-1])
    (kh, kw), (height, width) = kernel.shape[-2:], shape[1:]
    if kh > height or kw > width:
        raise ShapeError(
            f"{owner}: a kernel of {kh} x {kw} pixels is larger than the image of "
            f"{height} x {width}; lower physics.kernel.size, or raise data.crop."
        )


def check_odd(owner: str, *sizes: int) -> None:
    """Refuse an even size, which has no central pixel.

    Raises:
        ConfigError: names the size and the odd ones beside it.
    """
    for size in sizes:
        if size < 1 or size % 2 == 0:
            raise ConfigError(
                f"{owner}: a kernel of {size} pixels has no centre; use an odd size, "
                f"such as {max(1, size - 1)} or {max(1, size + 1)}."
            )
