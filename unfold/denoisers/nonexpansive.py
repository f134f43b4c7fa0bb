"""A network that is firmly nonexpansive by construction, for equilibria."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.parameters.declare import expect_sizes
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
    # The derivative is that of the largest only: only its products are recorded.
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


def periodic(x: Tensor, weight: Tensor) -> Tensor:
    """The convolution of a periodic image: a border of zeros would darken what is near it."""
    return conv2d(pad(x, (1, 1, 1, 1), mode="circular"), weight)


class NonexpansiveResNet(Denoiser):
    """D(v) = ½(v + c N(v) + (1 − c)/2), N 1-Lipschitz: firmly nonexpansive, and ½(1 + c) < 1.

    N(v) = Eᵀ L_n(… L_1(E v)), where E copies each channel of the image into several features and
    keeps its norm. Every layer is a step of gradient descent on a sum of Huber functions of Wx,

        L(x) = x − 2/‖W‖² Wᵀ clip(Wx, −t, t),

    1-Lipschitz for all W and t. What is clipped stays in the image: a bound of ‖W‖ that is not
    tight costs strength of a layer, never contrast. At the start every filter has mean zero, so
    that a constant image passes through N.

    Args:
        channels: C of the images.
        depth: convolutions; each layer has two, W and its transpose.
        width: features, at least C.
        c: the Lipschitz constant of the network part, in (0, 1).

    Source: Meunier et al., A dynamical system perspective for Lipschitz neural networks, ICML 2022,
    section 3 (the layer); Pesquet et al., Learning maximally monotone operators for image recovery,
    SIAM J. Imaging Sci. 14 (2021), section 3 (D = ½(I + Q), Q nonexpansive).
    """

    nonexpansive = True

    E: Tensor

    def __init__(self, channels: int = 3, depth: int = 7, width: int = 32, c: float = 0.98) -> None:
        if not 0 < c < 1:
            raise ConfigError(f"NonexpansiveResNet.c = {c}: must be in (0, 1).")
        expect_sizes("NonexpansiveResNet", channels, depth, width)
        if width < channels:
            raise ConfigError(
                f"NonexpansiveResNet.width = {width}: must be at least channels = {channels}."
            )
        super().__init__()
        self.channels, self.c = channels, c
        filters = torch.empty(depth // 2, width, width, 3, 3)
        for W in filters:
            nn.init.kaiming_normal_(W, nonlinearity="relu")
        self.filters = nn.Parameter(filters - filters.mean((3, 4), keepdim=True))
        self.thresholds = nn.Parameter(torch.full((depth // 2, width, 1, 1), 0.01))
        copies = torch.arange(width)[:, None] % channels == torch.arange(channels)
        E = copies / copies.sum(0).sqrt()
        # Among the weights on disk, so that those for other channels do not fit.
        self.register_buffer("E", E[:, :, None, None])

    def derived(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        layers = []
        for W, t in zip(self.filters, self.thresholds.abs(), strict=True):
            # The floor keeps filters that vanished, which do nothing, a number.
            stepsize = 2 / lipschitz_bound(W).clamp(min=1e-6) ** 2
            layers.append((W, t, stepsize * W.flip(2, 3).transpose(0, 1)))
        return layers

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        x = conv2d(v, self.E)
        for W, t, back in self.once():
            x = x - periodic(periodic(x, W).clamp(-t, t), back)
        N = conv2d(x, self.E.transpose(0, 1))
        return 0.5 * (v + self.c * N + (1 - self.c) / 2)
