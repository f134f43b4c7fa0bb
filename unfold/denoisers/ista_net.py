"""ISTA-Net and ISTA-Net+: a learned sparsifying transform, a soft threshold, and the way back."""

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.parameters.declare import expect_sizes
from unfold.typing import Image, Scalar


class SparseTransform(Denoiser, ABC):
    """H̃(soft_θ(H(·))), H and H̃ two 3×3 convolutions with ReLU between them, θ learned.

    All are without biases, and the level σ is not used. H̃ is near a left inverse of H by the
    penalty μ mean |H̃(H(u)) − u|².

    Args:
        channels: C of the images.
        width: features.
        threshold: θ at the start.
        symmetry: μ, the weight of the penalty; 0 for none.
    """

    residual: ClassVar[bool]
    """Whether it acts on features of the image, of which an image is made that is added to it."""

    def __init__(
        self, channels: int = 1, width: int = 32, threshold: float = 0.01, symmetry: float = 0.01
    ) -> None:
        name = type(self).__name__
        expect_sizes(name, channels, 2, width)
        if not (0 <= threshold < torch.inf and 0 <= symmetry < torch.inf):
            raise ConfigError(
                f"{name}: threshold = {threshold} and symmetry = {symmetry} must be 0 or positive."
            )
        super().__init__()
        self.channels, self.symmetry = channels, symmetry
        inner = width if self.residual else channels
        self.conv_D = _convolution(channels, width) if self.residual else nn.Identity()
        self.conv1_forward = _convolution(inner, width)
        self.conv2_forward = _convolution(width, width)
        self.conv1_backward = _convolution(width, width)
        self.conv2_backward = _convolution(width, inner)
        self.conv_G = _convolution(width, channels) if self.residual else nn.Identity()
        self.soft_thr = nn.Parameter(torch.tensor([threshold]))

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        sparse = self._transform(self.conv_D(v))
        kept = torch.sign(sparse) * relu(sparse.abs() - self.soft_thr)
        found: Image = self.conv_G(self._back(kept))
        return v + found if self.residual else found

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


class ISTANet(SparseTransform):
    """D(v) = v + G H̃(soft_θ(H(F v))): what ISTA-Net+ has for a prox.

    F and G are one 3×3 convolution. An iteration of PGD with a learned step size is one phase of
    the paper; nine untied ones of width 32 have 336,978 parameters.

    Source: Zhang and Ghanem, ISTA-Net: interpretable optimization-inspired deep network for image
    compressive sensing, CVPR 2018, equations 10 to 14.
    """

    residual = True


class PlainISTANet(SparseTransform):
    """D(v) = H̃(soft_θ(H(v))): what ISTA-Net has for a prox; nine of width 32: 171,090 parameters.

    Source: Zhang and Ghanem, ISTA-Net, CVPR 2018, equations 6 to 9.
    """

    residual = False


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.xavier_normal_(layer.weight)
    return layer
