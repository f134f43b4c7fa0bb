"""ISTA-Net+: a learned sparsifying transform with a soft threshold, and the way back."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.parameters.declare import expect_sizes
from unfold.typing import Image, Scalar


class ISTANet(Denoiser):
    """D(v) = v + G H̃(soft_θ(H(F v))): what ISTA-Net+ has for a prox; the level σ is not used.

    F and G are one 3×3 convolution, H and H̃ two with ReLU between them, all without biases; θ is
    learned. H̃ is near a left inverse of H by the penalty μ mean |H̃(H(F v)) − F v|². An iteration
    of PGD with a learned step size is one phase of the paper; nine untied ones of width 32 have
    336,978 parameters.

    Args:
        channels: C of the images.
        width: features.
        threshold: θ at the start.
        symmetry: μ, the weight of the penalty; 0 for none.

    Source: Zhang and Ghanem, ISTA-Net: interpretable optimization-inspired deep network for image
    compressive sensing, CVPR 2018, equations 10 to 14.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        threshold: float = 0.01,
        symmetry: float = 0.01,
    ) -> None:
        expect_sizes("ISTANet", channels, 2, width)
        if not (0 <= threshold < torch.inf and 0 <= symmetry < torch.inf):
            raise ConfigError(
                f"ISTANet: threshold = {threshold} and symmetry = {symmetry} must be 0 or positive."
            )
        super().__init__()
        self.channels, self.symmetry = channels, symmetry
        self.conv_D = _convolution(channels, width)
        self.conv1_forward, self.conv2_forward = (
            _convolution(width, width),
            _convolution(width, width),
        )
        self.conv1_backward = _convolution(width, width)
        self.conv2_backward = _convolution(width, width)
        self.conv_G = _convolution(width, channels)
        self.soft_thr = nn.Parameter(torch.tensor([threshold]))

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        sparse = self._transform(self.conv_D(v))
        kept = torch.sign(sparse) * relu(sparse.abs() - self.soft_thr)
        denoised: Image = v + self.conv_G(self._back(kept))
        return denoised

    @property
    def penalizes(self) -> bool:
        return self.symmetry > 0

    def penalty(self, v: Image) -> Tensor:
        features: Tensor = self.conv_D(v)
        gap = self._back(self._transform(features)) - features
        return self.symmetry * gap.square().mean()

    def _transform(self, features: Tensor) -> Tensor:
        found: Tensor = self.conv2_forward(relu(self.conv1_forward(features)))
        return found

    def _back(self, sparse: Tensor) -> Tensor:
        found: Tensor = self.conv2_backward(relu(self.conv1_backward(sparse)))
        return found


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.xavier_normal_(layer.weight)
    return layer
