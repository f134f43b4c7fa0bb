"""Magnetic resonance off the grid: the Fourier transform of the image at given points.

By FINUFFT, whose two transforms spread with the same kernel, so that they are adjoint to rounding,
whatever accuracy is asked for.

Source: Barnett, Magland and af Klinteberg, A parallel nonuniform fast Fourier transform library
based on an "exponential of semicircle" kernel, SIAM J. Sci. Comput. 41 (2019).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from unfold.extras import optional
from unfold.parameters.bounds import bounded, positive, whole
from unfold.physics.mri.coils import HALVES, MagneticResonance, sample_maps
from unfold.physics.mri.trajectories import Trajectory
from unfold.physics.operator import EACH, LinearBaseline, LinearOperator
from unfold.pytree import Derived
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class NonCartesian(LinearOperator):
    """(Ax)_m = (HW)^-½ Σ_n x_n exp(−2πi k_m · n), n counted from the middle of the image.

    A*A is a convolution, cut off at the border: two transforms of twice the side, on the grid.

    Args:
        points: k, real, (B or 1, M, 2): cycles per pixel, down and across, in [−½, ½].
        image_shape: of one image, (C, H, W); one measurement is (C, M).

    Source: Fessler, Lee, Olafsson, Shi and Noll, Toeplitz-based iterative image reconstruction for
    MRI with correction for magnetic field inhomogeneity, IEEE Trans. Signal Processing 53 (2005),
    section III, for A*A.
    """

    points: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        self.expect_field("points", "real", EACH, "points", 2)

    complex_images = True

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.points.shape[1]

    @Derived
    def power(self) -> Tensor:
        """The spectrum of A*A on twice the side, (B or 1, 1, 2H, 2W).

        Its real part: the rest is of the differences −H and −W, which no two pixels have.
        """
        _, height, width = self.image_shape
        ones = torch.ones_like(self.points[:, None, :, 0]).to(self.points.dtype.to_complex())
        kernel = to_grid(ones, self.points, (2 * height, 2 * width))
        kernel = kernel.roll((-height, -width), (-2, -1)) * (2 / math.sqrt(height * width))
        spectrum: Tensor = torch.fft.fft2(kernel)
        return spectrum.real

    def forward(self, x: Image) -> Measurement:
        return to_points(x, self.points)

    def adjoint(self, y: Measurement) -> Image:
        return to_grid(y, self.points, (self.image_shape[1], self.image_shape[2]))

    def normal(self, x: Image) -> Image:
        """The middle of F⁻¹(power · F(x, 0))."""
        _, height, width = self.image_shape
        spectrum = torch.fft.fft2(x, s=(2 * height, 2 * width))
        result: Tensor = torch.fft.ifft2(self.power * spectrum)[..., :height, :width]
        return result

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        """HW · A*(w · y): what practice calls gridding; w is the area that a point stands for.

        w is proportional to |k|, as along spokes and along the arms of a spiral, and sums to the
        area of the disc that the points reach. At the middle it is that of a quarter of the least
        distance from there, as the discs and rings of spokes have it.

        Source: Jackson, Meyer, Nishimura and Macovski, Selection of a convolution function for
        Fourier inversion using gridding, IEEE Trans. Medical Imaging 10 (1991).
        """
        radius = self.points.norm(dim=-1)
        inner = torch.where(radius > 1e-6, radius, torch.inf).amin(1, keepdim=True)
        weights = torch.where(inner.isinf(), 1, torch.maximum(radius, inner / 4))
        area = math.pi * radius.amax(1, keepdim=True) ** 2
        weights = weights * (area / weights.sum(1, keepdim=True))
        image = math.prod(self.image_shape[1:]) * self.adjoint(weights[:, None] * y)
        return LinearBaseline("gridding", image)


@dataclass(frozen=True, eq=False)
class MultiCoilNonCartesian(LinearOperator):
    """(Ax)_j = F(S_j · x), F the transform at the points of `NonCartesian`.

    Args:
        points: k, real, (B or 1, M, 2): cycles per pixel, down and across, in [−½, ½].
        maps: S, complex, (B or 1, J, H, W), one map for each of the J coils.
        image_shape: of one image, (C, H, W); one measurement is (C, J, M).

    Source: Pruessmann, Weiger, Börnert and Boesiger, Advances in sensitivity encoding with
    arbitrary k-space trajectories, Magnetic Resonance in Medicine 46 (2001).
    """

    points: Tensor
    maps: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        self.expect_field("points", "real", EACH, "points", 2)
        self.expect_field("maps", "complex", EACH, "coils", *self.image_shape[1:])

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.maps.shape[1], self.points.shape[1]

    @cached_property
    def single(self) -> NonCartesian:
        """F, for the images of all coils as channels."""
        channels, height, width = self.image_shape
        return NonCartesian(self.points, (channels * self.maps.shape[1], height, width))

    def forward(self, x: Image) -> Measurement:
        return self.single.forward(self._weighted(x)).reshape(-1, *self.measurement_shape)

    def adjoint(self, y: Measurement) -> Image:
        return self._combined(self.single.adjoint(y.flatten(1, 2)))

    def normal(self, x: Image) -> Image:
        """Σ_j S̄_j · F*F(S_j · x)."""
        return self._combined(self.single.normal(self._weighted(x)))

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        """Σ_j S̄_j · what `NonCartesian` makes of coil j."""
        each = self.single.linear_baseline(y.flatten(1, 2))
        return each._replace(image=self._combined(each.image))

    def _weighted(self, x: Image) -> Tensor:
        """S_j · x, (B, CJ, H, W)."""
        return (self.maps[:, None] * x[:, :, None]).flatten(1, 2)

    def _combined(self, images: Tensor) -> Image:
        """Σ_j S̄_j · x_j."""
        channels, height, width = self.image_shape
        coils = images.reshape(-1, channels, self.maps.shape[1], height, width)
        return (self.maps.conj()[:, None] * coils).sum(2)


@dataclass(frozen=True)
class NonCartesianMRI(MagneticResonance):
    """y_m = (Fx)(k_m) with noise, F the Fourier transform over the square root of H · W.

    Args:
        noise: complex, added to every point.
        trajectory: the distribution of the points.
    """

    varied = ("trajectory.spokes", "trajectory.arms")
    trajectory: Trajectory

    def __post_init__(self) -> None:
        super().__post_init__()
        finufft()

    def complex_operator(self, draws: Draws, shape: Shape) -> NonCartesian:
        return NonCartesian(self.trajectory.sample(draws.within("points"), *shape[-2:]), shape)


@dataclass(frozen=True)
class MultiCoilNonCartesianMRI(MagneticResonance):
    """y_jm = F(S_j · x)(k_m) with noise, j = 1 … J, Σ |S_j|² = 1 at every pixel.

    Args:
        noise: complex, added to every point of every coil.
        trajectory: the distribution of the points.
        coils: J, at least 1, as in `MultiCoilMRI`.
        width: standard deviation of a sensitivity, in halves of the image's side, positive.
    """

    varied = ("trajectory.spokes", "trajectory.arms")
    baselines = ("zero_filled", "cg_sense", "tv")
    trajectory: Trajectory
    coils: int = bounded(4, whole(1))
    width: float = bounded(1.0, positive, HALVES)

    def __post_init__(self) -> None:
        super().__post_init__()
        finufft()

    def complex_operator(self, draws: Draws, shape: Shape) -> MultiCoilNonCartesian:
        points = self.trajectory.sample(draws.within("points"), *shape[-2:])
        maps = sample_maps(draws, self.coils, self.width, shape)
        return MultiCoilNonCartesian(points, maps, shape)


def to_points(x: Tensor, points: Tensor) -> Tensor:
    """y_m = (HW)^-½ Σ_n x_n exp(−2πi k_m · n), n counted from the pixel (H // 2, W // 2).

    Differentiable in the images and in the points, at any order.

    Args:
        x: complex, (B, N, H, W).
        points: k, (B or 1, M, 2), in cycles per pixel, down and across.

    Returns:
        (B, N, M), to 1e-6 of its norm; to 1e-14 in double precision.
    """
    y: Tensor = _Transform.apply(x, points, None)  # type: ignore[no-untyped-call]
    return y


def to_grid(y: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """x_n = (HW)^-½ Σ_m y_m exp(2πi k_m · n): the adjoint of `to_points` for images of `size`."""
    x: Tensor = _Transform.apply(y, points, size)  # type: ignore[no-untyped-call]
    return x


def finufft() -> ModuleType:
    """The package that transforms; a `ConfigError` where it is not installed."""
    return optional("finufft", "nufft")


class _Transform(torch.autograd.Function):
    """`to_grid` where a size is given, else `to_points`; the reverse mode of one is the other."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, points: Tensor, size: tuple[int, int] | None) -> Tensor:
        ctx.save_for_backward(t, points)
        ctx.to_points = size is None
        return _transformed(t, points, size)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        t, points = ctx.saved_tensors
        along, across, _ = ctx.needs_input_grad
        x, y = (t, v) if ctx.to_points else (v, t)
        slope = _slope(x, y, points) if across else None
        if not along:
            return None, slope, None
        size = (x.shape[-2], x.shape[-1])
        return to_grid(v, points, size) if ctx.to_points else to_points(v, points), slope, None


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
