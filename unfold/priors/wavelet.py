"""Sparsity in an orthogonal wavelet basis, with one weight or one for every sub-band."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unfold.parameters.bounds import bounded, one_of, whole
from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.priors.prior import Prior, expect_weight
from unfold.thresholds import soft
from unfold.typing import Image, PerImage, Scalar

# Orthonormal low-pass filters. Source: Daubechies, Ten lectures on wavelets (1992), section 6.4.
_ROOT3 = math.sqrt(3.0)
LOW_PASS = {
    "haar": [1 / math.sqrt(2.0), 1 / math.sqrt(2.0)],
    "db2": [c / (4 * math.sqrt(2.0)) for c in (1 + _ROOT3, 3 + _ROOT3, 3 - _ROOT3, 1 - _ROOT3)],
}
Bands = tuple[Tensor, ...]


def _places(n: int, filters: Tensor) -> Tensor:
    """The samples of the windows at every second one of n, an even number, (n/2, taps)."""
    starts = torch.arange(0, n, 2, device=filters.device)
    return (starts[:, None] + torch.arange(filters.shape[1], device=filters.device)) % max(n, 1)


def _split(x: Tensor, filters: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The low and the high half of one axis: correlate periodically, keep every second sample.

    The last sample of an odd number is left out, and ends the low half: that is orthonormal, too.
    """
    x = x.movedim(dim, -1)
    even = x.shape[-1] // 2 * 2
    windows = x[..., _places(even, filters)]
    low, high = windows @ filters[0], windows @ filters[1]
    return torch.cat((low, x[..., even:]), -1).movedim(-1, dim), high.movedim(-1, dim)


def _merge(low: Tensor, high: Tensor, filters: Tensor, dim: int) -> Tensor:
    """The adjoint, and so the inverse, of `_split`."""
    low, high = low.movedim(dim, -1), high.movedim(dim, -1)
    half = high.shape[-1]
    spread = low[..., :half, None] * filters[0] + high[..., None] * filters[1]
    out = low.new_zeros((*low.shape[:-1], 2 * half))
    out = out.index_add(out.ndim - 1, _places(2 * half, filters).flatten(), spread.flatten(-2))
    return torch.cat((out, low[..., half:]), -1).movedim(-1, dim)


@dataclass(frozen=True)
class WaveletSparsity(Prior):
    """g(x) = Σ c_b ‖(Wx)_b‖₁ over the detail bands b of an orthonormal, periodic wavelet transform.

    A subclass defines the weights of the bands.

    Args:
        family: `haar` (2 taps) or `db2` (Daubechies with two vanishing moments, 4 taps).
        levels: how often the image is halved; the last row or column of an odd number is kept for
            the next level as it is.
    """

    provides = frozenset({"prox", "value"})

    family: Literal["haar", "db2"] = bounded("db2", one_of(*LOW_PASS))
    levels: int = bounded(3, whole(1, 12))

    @abstractmethod
    def band_weights(self) -> Sequence[Scalar]:
        """c_b of the detail bands in the order of `transform`."""

    def prox(self, v: Image, weight: Scalar) -> Image:
        """W* soft(Wv, wc), exact because W is orthogonal; the coarsest band is kept as it is."""
        expect_weight(self, weight)
        coarse, *details = self.transform(v)
        pairs = zip(details, self.band_weights(), strict=True)
        return self.inverse((coarse, *(soft(band, weight * c) for band, c in pairs)))

    def value(self, x: Image) -> PerImage:
        _, *details = self.transform(x)
        pairs = zip(details, self.band_weights(), strict=True)
        return torch.stack([c * band.abs().flatten(1).sum(1) for band, c in pairs]).sum(0)

    def transform(self, x: Image) -> Bands:
        """Wx: the coarsest band; horizontal, vertical, diagonal details from coarse to fine."""
        filters = self._filters(x)
        details: list[Tensor] = []
        for _ in range(self.levels):
            low, high = _split(x, filters, -2)
            x, vertical = _split(low, filters, -1)
            horizontal, diagonal = _split(high, filters, -1)
            details = [horizontal, vertical, diagonal, *details]
        return (x, *details)

    def inverse(self, bands: Bands) -> Image:
        """W*, which is W⁻¹."""
        x, *details = bands
        filters = self._filters(x)
        for i in range(0, len(details), 3):
            horizontal, vertical, diagonal = details[i : i + 3]
            low = _merge(x, vertical, filters, -1)
            x = _merge(low, _merge(horizontal, diagonal, filters, -1), filters, -2)
        return x

    def _filters(self, like: Tensor) -> Tensor:
        low = torch.tensor(LOW_PASS[self.family], dtype=torch.float64)
        signs = torch.tensor([(-1.0) ** i for i in range(len(low))], dtype=torch.float64)
        return torch.stack((low, low.flip(0) * signs)).to(device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Wavelet(WaveletSparsity):
    """g(x) = ‖Wx‖₁ over the detail bands of an orthonormal, periodic wavelet transform W.

    Source: Donoho, De-noising by soft-thresholding, IEEE Trans. Inf. Theory 41 (1995).
    """

    def band_weights(self) -> Sequence[Scalar]:
        return (1.0,) * (3 * self.levels)


@dataclass(frozen=True)
class WaveletBands(WaveletSparsity):
    """g(x) = Σ c_b ‖(Wx)_b‖₁, W as of `Wavelet`, with a weight c_b of each detail band, learnable.

    Args:
        weights: c_b, one number for all or 3 · levels: horizontal, vertical and diagonal details
            from coarse to fine.

    Source: Chang, Yu and Vetterli, Adaptive wavelet thresholding for image denoising and
    compression, TIP 9 (2000), section II (a threshold for each sub-band).
    """

    weights: Scalar = param(1.0, nonnegative, vector=True)

    def entries(self, name: str) -> int:
        return 3 * self.levels

    def band_weights(self) -> Sequence[Scalar]:
        if isinstance(self.weights, Tensor):
            return self.weights.flatten().expand(3 * self.levels).unbind()
        if isinstance(self.weights, float | int):
            return (self.weights,) * (3 * self.levels)
        return self.weights
