"""A network that is firmly nonexpansive by construction, for equilibria."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from unfold.denoisers.denoiser import Denoiser, check_size
from unfold.errors import ConfigError
from unfold.typing import Image, Scalar

GRID = 16
"""Frequencies per axis at which a kernel's transfer matrix is bounded."""


def lipschitz_bound(weight: Tensor, squarings: int = 7) -> Tensor:
    """An upper bound of the operator norm of a periodic 3×3 convolution; differentiable.

    The norm is at most the largest spectral norm of the transfer matrix over all frequencies. On a
    grid of n frequencies per axis a trigonometric polynomial of degree 1 falls short of its
    maximum by the factor cos(π/n) at most, once per axis; each matrix is bounded by Gram iteration,
    ‖M‖ ≤ ‖(MᴴM)^(2^t)‖_F^(1/2^(t+1)).

    Args:
        weight: (out, in, 3, 3).
        squarings: t; 7 leaves an excess below 32^(1/256), 1.4 %.

    Source: Delattre et al., Efficient bound of Lipschitz constant for convolutional layers by Gram
    iteration, ICML 2023, theorems 1 and 2.
    """
    transfer = torch.fft.rfft2(weight, s=(GRID, GRID)).permute(2, 3, 0, 1).flatten(0, 1)
    if weight.shape[0] < weight.shape[1]:
        transfer = transfer.mH
    with torch.no_grad():
        largest = _log_bounds(transfer, squarings).argmax(0, keepdim=True)
    # The derivative is that of the largest alone: only its products are recorded.
    bound = _log_bounds(transfer[largest], squarings).squeeze(0).exp()
    return bound / math.cos(math.pi / GRID) ** 2


def _log_bounds(matrices: Tensor, squarings: int) -> Tensor:
    """(n,): the logarithm of a bound of the spectral norm of each matrix, by Gram iteration."""
    # The floor keeps a frequency that the kernel removes, where the matrix is 0, a number.
    tiny = torch.finfo(matrices.dtype).tiny
    gram = matrices.mH @ matrices
    size = torch.linalg.matrix_norm(gram, keepdim=True).clamp(min=tiny)
    logarithm, gram = size.log(), gram / size
    for _ in range(squarings):
        gram = gram @ gram
        size = torch.linalg.matrix_norm(gram, keepdim=True).clamp(min=tiny)
        gram, logarithm = gram / size, 2 * logarithm + size.log()
    bounds: Tensor = logarithm.flatten() / 2 ** (squarings + 1)
    return bounds


def max_min(x: Tensor) -> Tensor:
    """Sort channels in pairs: 1-Lipschitz, and it keeps the norm of gradients.

    Source: Anil, Lucas and Grosse, Sorting out Lipschitz function approximation, ICML 2019.
    """
    a, b = x.chunk(2, dim=1)
    return torch.cat((torch.maximum(a, b), torch.minimum(a, b)), dim=1)


def _periodic(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of a periodic image: a border of zeros would darken what is near it."""
    return conv2d(pad(x, (1, 1, 1, 1), mode="circular"), weight, bias)


def _near_identity(convolution: nn.Conv2d) -> None:
    """Copy the image through, with a little noise to break the symmetry."""
    nn.init.normal_(convolution.weight, std=0.005 / math.sqrt(convolution.in_channels))
    with torch.no_grad():
        out, inputs = convolution.weight.shape[:2]
        for i in range(max(out, inputs)):
            share = 1 / math.sqrt(max(out, inputs) / min(out, inputs))
            convolution.weight[i % out, i % inputs, 1, 1] += share
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)


class NonexpansiveDnCNN(Denoiser):
    """D(v) = ½(v + c N(v) + (1 − c)/2), N 1-Lipschitz: firmly nonexpansive, and ½(1 + c) < 1.

    Every convolution is divided by a bound of its norm where that exceeds 1; N starts near the
    identity, D near v. At the start a mid-gray image stays where it is.

    Args:
        channels: C of the images.
        depth: convolutions.
        width: features, even.
        c: the Lipschitz constant of the network part, in (0, 1).

    Source: Pesquet et al., Learning maximally monotone operators for image recovery, SIAM J.
    Imaging Sci. 14 (2021), section 3 (D = ½(I + Q), Q nonexpansive).
    """

    nonexpansive = True

    def __init__(self, channels: int = 3, depth: int = 7, width: int = 32, c: float = 0.98) -> None:
        if not 0 < c < 1:
            raise ConfigError(f"NonexpansiveDnCNN.c = {c}: must be in (0, 1).")
        if width < 2 or width % 2:
            raise ConfigError(f"NonexpansiveDnCNN.width = {width}: must be even, and at least 2.")
        check_size("NonexpansiveDnCNN", channels, depth, width)
        super().__init__()
        self.channels, self.c = channels, c
        widths = [channels, *[width] * (depth - 1), channels]
        pairs = pairwise(widths)
        self.layers = nn.ModuleList([nn.Conv2d(a, b, 3) for a, b in pairs])
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            _near_identity(layer)
        self._keep_gray()

    @torch.no_grad()
    def _keep_gray(self) -> None:
        """Shift the last bias so that N, whose bounds shrink it a little, keeps a gray image."""
        gray = torch.full((1, self.channels, 1, 1), 0.5)
        found = self.prepared()(gray, 0.0)[0, :, 0, 0]
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        last.bias += (0.5 - found) * 2 / self.c

    def forward(self, v: Image, sigma: Scalar) -> Image:
        """Denoise; `sigma` is not used."""
        return self.prepared()(v, sigma)  # type: ignore[no-any-return]

    def prepared(self) -> Denoiser:
        """The same map with its normalised weights computed once."""
        weights, biases = [], []
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            weights.append(layer.weight / lipschitz_bound(layer.weight).clamp(min=1.0))
            biases.append(layer.bias)
        return _Prepared(self.channels, self.c, weights, biases)


class _Prepared(Denoiser):
    """`NonexpansiveDnCNN` with its weights normalised; holds tensors, owns no parameter."""

    def __init__(
        self, channels: int, c: float, weights: list[Tensor], biases: list[Tensor]
    ) -> None:
        super().__init__()
        self.channels, self.c = channels, c
        self.kernels = list(zip(weights, biases, strict=True))

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        x = v
        for weight, bias in self.kernels[:-1]:
            x = max_min(_periodic(x, weight, bias))
        weight, bias = self.kernels[-1]
        return 0.5 * (v + self.c * _periodic(x, weight, bias) + (1 - self.c) / 2)
