"""Sparsity in an orthogonal wavelet basis, with a weight for every sub-band."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.priors.wavelet import WaveletSparsity
from unfold.typing import Scalar


@dataclass(frozen=True)
class WaveletBands(WaveletSparsity):
    """g(x) = Σ c_b ‖(Wx)_b‖₁, W as of `Wavelet`, with a weight c_b of each detail band, learnable.

    Args:
        family: `haar` (2 taps) or `db2` (Daubechies with two vanishing moments, 4 taps).
        levels: how often the image is halved; its sides must be divisible by 2^levels.
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
