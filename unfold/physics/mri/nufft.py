"""The Fourier transform of images at points off the grid, and its adjoint, by FINUFFT.

FINUFFT is maintained (2.5, 2026), its wheels need only NumPy and leave PyTorch as it is, and its
accuracy is a number that is asked for. Both of its transforms spread with the same kernel, so that
they are adjoint to each other to rounding, whatever the accuracy. torchkbnufft, in plain PyTorch,
had its last release in 2024 and interpolates from a table; mri-nufft needs deepinv for gradients.

Source: Barnett, Magland and af Klinteberg, A parallel nonuniform fast Fourier transform library
based on an "exponential of semicircle" kernel, SIAM J. Sci. Comput. 41 (2019).
"""

import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from unfold.extras import optional


def to_points(x: Tensor, points: Tensor) -> Tensor:
    """y_m = (HW)^-½ Σ_n x_n exp(−2πi k_m · n), n counted from the pixel (H // 2, W // 2).

    Differentiable in the images and in the points, at any order.

    Args:
        x: complex, (B, N, H, W).
        points: k, (B or 1, M, 2), in cycles per pixel, down and across.

    Returns:
        (B, N, M), to 1e-6 of its norm; to 1e-14 in double precision.
    """
    y: Tensor = _ToPoints.apply(x, points)  # type: ignore[no-untyped-call]
    return y


def to_grid(y: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """x_n = (HW)^-½ Σ_m y_m exp(2πi k_m · n): the adjoint of `to_points` for images of `size`.

    Args:
        y: complex, (B, N, M).
        points: k, (B or 1, M, 2), in cycles per pixel, down and across.
        size: H and W.
    """
    x: Tensor = _ToGrid.apply(y, points, size)  # type: ignore[no-untyped-call]
    return x


def finufft() -> ModuleType:
    """The package that transforms.

    Raises:
        ConfigError: it is not installed.
    """
    return optional("finufft", "nufft")


class _ToPoints(torch.autograd.Function):
    """`to_points`; its reverse mode is `to_grid`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, points: Tensor) -> Tensor:
        ctx.save_for_backward(x, points)
        return _transformed(x, points, None)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, points = ctx.saved_tensors
        along, across = ctx.needs_input_grad
        size = (x.shape[-2], x.shape[-1])
        return to_grid(v, points, size) if along else None, _slope(x, v, points) if across else None


class _ToGrid(torch.autograd.Function):
    """`to_grid`; its reverse mode is `to_points`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(y, points)
        return _transformed(y, points, size)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, points = ctx.saved_tensors
        along, across, _ = ctx.needs_input_grad
        return (
            to_points(v, points) if along else None,
            _slope(v, y, points) if across else None,
            None,
        )


def _slope(x: Tensor, y: Tensor, points: Tensor) -> Tensor:
    """The gradient of Re⟨y, F(k)x⟩ in k: Re Σ ȳ_m · (F(k)(−2πi n · x))_m, over the images."""
    slopes = []
    for axis in (-2, -1):
        shape = [1, 1]
        shape[axis] = -1
        n = torch.arange(x.shape[axis], device=x.device) - x.shape[axis] // 2
        moved = to_points(-2j * math.pi * n.reshape(shape) * x, points)
        slopes.append((y.conj() * moved).real.sum(1))
    return torch.stack(slopes, -1).sum_to_size(points.shape)


def _transformed(t: Tensor, points: Tensor, size: tuple[int, int] | None) -> Tensor:
    """One of the two transforms; `size` asks for the way to the grid."""
    if len(points) == 1:  # the same for all: one plan
        rows = _planned(t.flatten(0, 1), points[0], size)
        return rows.reshape(*t.shape[:2], *rows.shape[1:])
    each = [_planned(rows, k, size) for rows, k in zip(t, points, strict=True)]
    return torch.stack(each)


def _planned(rows: Tensor, k: Tensor, size: tuple[int, int] | None) -> Tensor:
    """(N, H, W) to (N, M), or (N, M) to (N, H, W), by the plan of one set of points.

    On the CPU, wherever the images are: what iterations repeat is A*A, which takes fast Fourier
    transforms only. By one thread: several add in varying order, so that last bits would differ.
    """
    shape = size or (rows.shape[1], rows.shape[2])
    down, across = (
        (2 * math.pi * k.detach()).to("cpu", rows.dtype.to_real()).mT.contiguous().numpy()
    )
    values = rows.detach().cpu().contiguous().resolve_conj().resolve_neg().numpy()
    options = {"eps": 1e-14 if rows.dtype == torch.complex128 else 1e-6, "nthreads": 1}
    if size:
        found = finufft().nufft2d1(down, across, values, size, isign=1, **options)
    else:
        found = finufft().nufft2d2(down, across, values, isign=-1, **options)
    ends = torch.from_numpy(found).to(rows.device)
    result: Tensor = math.prod(shape) ** -0.5 * ends.reshape(len(rows), *(size or (len(k),)))
    return result
