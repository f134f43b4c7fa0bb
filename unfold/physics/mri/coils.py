"""Magnetic resonance: complex images; receiver coils, each with its own sensitivity to them."""

from abc import ABC
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unfold.array_files import read_array
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.parameters.bounds import Declared
from unfold.physics.base import ComplexPhysics
from unfold.physics.operator import Operator
from unfold.physics.wrapped import central
from unfold.random import Draws
from unfold.typing import Shape

HALVES = "in halves of the image's side"

ESPIRIT = "espirit"
"""The word for maps that are estimated from a measurement."""


@dataclass(frozen=True)
class MagneticResonance(ComplexPhysics, ABC):
    """Frequencies of complex images.

    Args:
        real_images: whether images have no phase, which makes frequencies k and −k conjugate: half
            as many unknowns, and never so in a scanner.
    """

    real_images: bool = field(default=False, kw_only=True)

    whole_images = True
    baselines: ClassVar[tuple[str, ...]] = ("zero_filled", "tv")

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        if self.real_images:
            return super().sample(draws, shape)
        return self.complex_operator(draws, shape)


@dataclass(frozen=True, eq=False)
class FixedMaps(Declared):
    """Coil maps that are given.

    Args:
        values: S, complex, (B or 1, J, H, W).
    """

    values: Tensor


def read_maps(path: str) -> FixedMaps:
    """The maps of a file, (J, H, W), in any precision.

    Raises:
        DataError: it cannot be read, or has other axes.
    """
    found = np.squeeze(read_array(path, "MultiCoilMRI.maps"))
    if found.ndim != 3:
        raise DataError(f"{path}: {found.shape}; maps are (coils, height, width).")
    return FixedMaps(torch.from_numpy(found.astype(np.complex64))[None])


def sample_maps(draws: Draws, coils: int, spread: float, shape: Shape) -> Tensor:
    """(B, J, H, W), complex: Gaussian bumps on a circle about the image, of Σ |S_j|² = 1.

    Args:
        draws: rotate the circle, and sample a phase of each coil that is linear in the pixels.
        coils: J.
        spread: standard deviation of a bump, in halves of the image's side.
        shape: of the image, (…, H, W).
    """
    height, width = shape[-2:]
    v, u = np.meshgrid(_axis(height), _axis(width), indexing="ij")

    def maps(g: np.random.Generator, _: int) -> np.ndarray:
        place = g.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(coils) / coils
        px, py = (1.2 * f(place)[:, None, None] for f in (np.cos, np.sin))
        bump = np.exp(-((u - px) ** 2 + (v - py) ** 2) / (2 * spread**2))
        offset, across, down = g.uniform(-np.pi, np.pi, (3, coils, 1, 1))
        phase = offset + (across * u + down * v) / 2
        return np.asarray(bump * np.exp(1j * phase) / np.sqrt((bump**2).sum(0)))

    return replace(draws, dtype=draws.dtype.to_complex()).each("maps", maps)


def _axis(size: int) -> np.ndarray:
    """The pixels from −1 to 1; a single one is at 0."""
    return np.linspace(-1, 1, size) if size > 1 else np.zeros(1)


def estimate_maps(
    y: Tensor,
    *,
    calibration: int = 24,
    kernel: int = 6,
    threshold: float = 0.0316,
    crop: float = 0.8,
) -> Tensor:
    """ESPIRiT: the maps S_j that explain the correlations between coils around frequency 0.

    Patches of all coils around every frequency lie in a space of few dimensions, which the singular
    vectors of the patches of the calibration region span. At a pixel, their transforms g_n have the
    vector of sensitivities as the leading eigenvector of Σ_n g_n g_nᴴ, with eigenvalue 1. It is
    known up to a phase, which is chosen so that S_1 is real and positive.

    Args:
        y: the frequencies of all coils, complex, (B, J, H, W), frequency 0 at index (0, 0); those
            of the calibration region are all acquired.
        calibration: the side of that region around frequency 0, in frequencies.
        kernel: the side of a patch.
        threshold: singular values below it, relative to the largest, count as noise: a thousandth
            of its energy.
        crop: where the eigenvalue is below it there is no signal, and the maps are 0.

    Returns:
        (B, J, H, W), Σ_j |S_j|² = 1 where there is signal: the maps of `MultiCoilFourier`.

    Raises:
        ShapeError: y is not complex, of four dimensions and at least as large as the region.
        ConfigError: the patches do not fit into the region, or a value is out of its range.

    Source: Uecker et al., ESPIRiT, an eigenvalue approach to autocalibrating parallel MRI, Magnetic
    Resonance in Medicine 71 (2014): the calibration matrix, and the eigenvalue problem in image
    space.
    """
    if y.ndim != 4 or not y.is_complex() or min(y.shape[-2:]) < calibration:
        raise ShapeError(
            "estimate_maps expects complex (batch, coils, height, width) of at least "
            f"{calibration} frequencies a side, got {tuple(y.shape)} of {y.dtype}."
        )
    if not 1 <= kernel < calibration:
        raise ConfigError(
            f"kernel = {kernel}: must be from 1 to calibration - 1 = {calibration - 1}."
        )
    for name, value in (("threshold", threshold), ("crop", crop)):
        if not 0 <= value < 1:
            raise ConfigError(f"{name} = {value}: must be in [0, 1).")
    return torch.stack([_maps(one, calibration, kernel, threshold, crop) for one in y])


def _maps(y: Tensor, calibration: int, kernel: int, threshold: float, crop: float) -> Tensor:
    coils, height, width = y.shape
    down, across = central((height, width), calibration)
    middle = y[:, down, across]
    patches = middle.unfold(1, kernel, 1).unfold(2, kernel, 1)
    rows = patches.permute(1, 2, 0, 3, 4).reshape(-1, coils * kernel**2)
    _, sizes, spanning = torch.linalg.svd(rows, full_matrices=False)
    kept = spanning[sizes > threshold * sizes[0]].reshape(-1, coils, kernel, kernel)
    g = torch.fft.ifft2(kept, s=(height, width), norm="forward").permute(2, 3, 1, 0)
    values, vectors = torch.linalg.eigh(g @ g.mH / kernel**2)
    maps = vectors[..., -1] * vectors[..., :1, -1].conj().sgn()
    maps = torch.where(values[..., -1:] > crop, maps, 0)
    return maps.permute(2, 0, 1)


def combine(images: Tensor, maps: Tensor) -> Tensor:
    """Σ_j S̄_j x_j over the coils, the third axis from the end."""
    return (maps.conj() * images).sum(-3)
