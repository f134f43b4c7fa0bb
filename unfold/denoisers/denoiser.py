"""Denoisers: networks D(v, σ) that stand where a prox would."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from unfold.errors import ShapeError
from unfold.parameters.networks import Network
from unfold.typing import Image, Scalar

Representation = Literal["parts", "magnitude_phase"]


def _polar(v: Image) -> tuple[Image, Image]:
    """|v|, and its phase from −π to π as intensities from 0 to 1."""
    return v.abs(), v.angle() / (2 * math.pi) + 0.5


def _of_polar(magnitude: Image, phase: Image) -> Image:
    """The image that `_polar` takes apart."""
    return torch.polar(magnitude, 2 * math.pi * (phase - 0.5))


REPRESENTATIONS: Mapping[str, tuple[Callable[[Image], tuple[Image, Image]], Callable[..., Image]]]
REPRESENTATIONS = {
    "parts": (lambda v: (v.real, v.imag), torch.complex),
    "magnitude_phase": (_polar, _of_polar),
}
"""How a complex image becomes two real ones, and the way back."""


class Denoiser(Network, ABC):
    """D(v, σ): removes Gaussian noise of standard deviation σ from images in [0, 1]."""

    uses_sigma: bool = False
    """Whether the level σ reaches the result."""

    trained: bool = False
    """Whether it is made with trained weights."""

    nonexpansive: ClassVar[bool] = False
    """Whether D is firmly nonexpansive for all its weights: ‖2D(a) − a − 2D(b) + b‖ ≤ ‖a − b‖."""

    channels: int
    """The channels C of the images it takes."""

    @property
    def reach(self) -> int | None:
        """How many pixels away from its own a result depends on; None where that is not known."""
        return None

    @abstractmethod
    def forward(self, v: Image, sigma: Scalar) -> Image:
        """D(v, σ); σ is a number or (B, 1, 1, 1), in units of an image in [0, 1]."""

    @property
    def penalizes(self) -> bool:
        """Whether it adds a penalty to the loss of a training."""
        return False

    def penalty(self, v: Image) -> Tensor:
        """What it adds to the loss of a training where it denoises v."""
        raise NotImplementedError

    def denoise(self, v: Image, sigma: Scalar, by: Representation = "parts") -> Image:
        """D(v, σ); of complex v by real networks, through two real images `by` which it is known.

        A network of twice the channels of v takes both together, the real part or the magnitude
        first; another takes one after the other, with the same weights.
        """
        images, level, back = self.real_images(v, sigma, by)
        return back(self(images, level))

    def real_images(
        self, v: Image, sigma: Scalar, by: Representation = "parts"
    ) -> tuple[Tensor, Scalar, Callable[[Tensor], Tensor]]:
        """What stands for v in a real network, its noise level, and the way back."""
        if not v.is_complex():
            return v, sigma, lambda denoised: denoised
        pair, image = REPRESENTATIONS[by]
        if self.channels == 2 * v.shape[1]:
            return torch.cat(pair(v), 1), sigma, lambda denoised: image(*denoised.chunk(2, 1))
        several = isinstance(sigma, Tensor) and sigma.numel() > 1
        level = sigma.repeat(2, 1, 1, 1) if several else sigma  # type: ignore[union-attr]
        return torch.cat(pair(v)), level, lambda denoised: image(*denoised.chunk(2))

    def expect(self, v: Image) -> None:
        """Refuse images of other channels."""
        if v.shape[1] != self.channels:
            name = type(self).__name__
            raise ShapeError(
                f"{name} expects {self.channels} channels, got {tuple(v.shape)}; set "
                f"{name}.channels={v.shape[1]}, or use images of {self.channels}."
            )


def with_level(v: Image, sigma: Scalar) -> Tensor:
    """(B, C + 1, H, W): v with its noise level σ1 as the last channel."""
    return torch.cat((v, torch.ones_like(v[:, :1]) * sigma), dim=1)


def at_multiple(multiple: int, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """network(x) of an x of any size: below and on the right it is extended to a multiple."""
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    # Replicated: reflection is undefined where an image is smaller than what it lacks.
    extended = pad(x, (0, right, 0, below), mode="replicate") if below or right else x
    return network(extended)[..., :height, :width]


class InHalfPrecision(Denoiser):
    """The same network computed in bfloat16; inputs and outputs keep their precision.

    It refers to the network without owning its parameters: it lives for one reconstruction.

    Args:
        network: the denoiser.
    """

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.channels = network.channels
        self.call = (network,)

    @property
    def reach(self) -> int | None:
        return self.call[0].reach

    @property
    def penalizes(self) -> bool:
        return self.call[0].penalizes

    def penalty(self, v: Image) -> Tensor:
        with _halved(v):
            added = self.call[0].penalty(v)
        return added.to(v.dtype.to_real())

    def forward(self, v: Image, sigma: Scalar) -> Image:
        with _halved(v):
            denoised: Image = self.call[0](v, sigma)
        return denoised.to(v.dtype)


def _halved(v: Image) -> torch.autocast:
    """Computing in bfloat16, on the device of v."""
    # The cache of casts is one for all threads: parts of a batch in parallel would share it.
    return torch.autocast(v.device.type, dtype=torch.bfloat16, cache_enabled=False)
