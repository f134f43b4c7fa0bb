"""What filtered back-projection needs: the filter, and that no line is seen more than others."""

from math import ceil

import numpy as np
import torch
from torch import Tensor

WHOLE = {
    180.0: "parallel rays over at most half a turn, or over whole half turns",
    360.0: "a fan whose source makes a whole turn",
}
"""The scans that can be filtered, by the degrees after which lines repeat."""


def ramp_filtered(y: Tensor) -> Tensor:
    """Q * y over the last dimension: q(0) = 1/4, −1/(πn)² for odd n, 0 for even n ≠ 0."""
    count = y.shape[-1]
    size = 2 ** ceil(np.log2(2 * count))
    n = np.fft.fftfreq(size, 1 / size)
    q = np.where(n % 2 == 1, -1 / (np.pi * np.where(n == 0, 1, n)) ** 2, 0)
    q[0] = 0.25
    gain = torch.from_numpy(np.fft.fft(q).real).to(y.device, y.dtype.to_real())
    filtered: Tensor = torch.fft.ifft(gain * torch.fft.fft(y, size))[..., :count]
    return filtered if y.is_complex() else filtered.real


def arc(angles: tuple[float, ...]) -> float:
    """The degrees that equally spaced angles stand for: their number times their step."""
    if len(angles) == 1:
        return 180.0
    return abs(angles[-1] - angles[0]) * len(angles) / (len(angles) - 1)


def rounds(angles: tuple[float, ...], whole: float) -> int | None:
    """How often the angles see every line; None where some lines are seen more often than others.

    Parallel rays may leave out a part of half a turn: what is missing is missing.

    Args:
        angles: in degrees.
        whole: the degrees after which lines repeat.
    """
    if whole == 180 and max(angles) - min(angles) < 180:
        return 1
    count = max(1, round(arc(angles) / whole))
    return count if abs(arc(angles) - count * whole) <= 1e-6 * whole else None
