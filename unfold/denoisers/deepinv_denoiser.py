"""Denoisers of the package deepinv: `pip install -e '.[deepinv]'`."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError
from unfold.extras import deepinv
from unfold.typing import Image, Scalar

SIDE = 32
"""Of the image that shows whether the level acts; a power of 2 suits networks of scales."""


class DeepinvDenoiser(Denoiser):
    """D(v, σ) = a denoiser of deepinv, trained further like any other network.

    Whether σ acts is tested with two levels on one image: some networks accept and ignore it.

    Args:
        network: makes the denoiser: a class with its arguments, `_partial_: true` in a yaml.
        channels: of the images.

    Raises:
        ConfigError: deepinv is not installed, or what is made is no denoiser of such images.
    """

    def __init__(self, network: Callable[..., Any], channels: int) -> None:
        super().__init__()
        made = network()
        name = type(made).__name__
        if not isinstance(made, deepinv().models.Denoiser):
            raise ConfigError(f"DeepinvDenoiser.network = {name}: a denoiser of deepinv is needed.")
        self.network: nn.Module = made
        self.channels = channels
        self.trained = _pretrained(network)
        try:
            self.uses_sigma = self._reacts()
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ConfigError(
                f"DeepinvDenoiser.network = {name}: it does not act on images of {channels} "
                f"channels: {error}"
            ) from error

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        if isinstance(sigma, Tensor):
            sigma = sigma.reshape(-1).expand(len(v)).to(v)
        denoised: Image = self.network(v, sigma)
        return denoised

    @torch.no_grad()
    def _reacts(self) -> bool:
        v = torch.linspace(0, 1, self.channels * SIDE**2).reshape(1, self.channels, SIDE, SIDE)
        mode = self.network.training
        self.network.eval()
        low, high = self.network(v, 0.01), self.network(v, 0.2)
        self.network.train(mode)
        return not torch.equal(low, high)


def _pretrained(make: Callable[..., Any]) -> bool:
    """Whether the weights come with the network: deepinv downloads them by default."""
    given = make.keywords if isinstance(make, partial) else {}
    asked = inspect.signature(make).parameters
    default = asked["pretrained"].default if "pretrained" in asked else None
    return given.get("pretrained", default) is not None
