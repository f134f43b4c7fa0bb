"""Sensitivity maps of coils from the middle of their own measurement."""

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError


def estimate_maps(
    y: Tensor,
    *,
    calibration: int = 24,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.9,
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
        threshold: singular values below it, relative to the largest, count as noise.
        crop: where the eigenvalue is below it there is no signal, and the maps are 0.

    Returns:
        (B, J, H, W), Σ_j |S_j|² = 1 where there is signal: the maps of `Coils`.

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
    # As many frequencies on either side of 0, one more on the negative side where the side is even.
    places = torch.arange(calibration, device=y.device) - calibration // 2
    middle = y[:, places % height][:, :, places % width]
    patches = middle.unfold(1, kernel, 1).unfold(2, kernel, 1)
    rows = patches.permute(1, 2, 0, 3, 4).reshape(-1, coils * kernel**2)
    _, sizes, spanning = torch.linalg.svd(rows, full_matrices=False)
    kept = spanning[sizes > threshold * sizes[0]].reshape(-1, coils, kernel, kernel)
    g = torch.fft.ifft2(kept, s=(height, width), norm="forward").permute(2, 3, 1, 0)
    values, vectors = torch.linalg.eigh(g @ g.mH / kernel**2)
    maps = vectors[..., -1] * vectors[..., :1, -1].conj().sgn()
    maps = torch.where(values[..., -1:] > crop, maps, 0)
    return maps.permute(2, 0, 1)
