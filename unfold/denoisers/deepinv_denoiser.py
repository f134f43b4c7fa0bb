"""Denoisers of the package deepinv: `pip install -e '.[deepinv]'`."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from unfold.denoisers.adapted import Adapted
from unfold.errors import ConfigError
from unfold.extras import deepinv
from unfold.typing import Image, Scalar


class DeepinvDenoiser(Adapted):
    """D(v, σ) = a denoiser of deepinv, trained further like any other network.

    Whether σ acts is tested with two levels on one image: some networks accept and ignore it.

    Args:
        network: makes the denoiser: a class with its arguments, `_partial_: true` in a yaml.
        channels: of the images.

    Raises:
        ConfigError: deepinv is not installed, or what is made is no denoiser of such images.
    """

    def __init__(self, network: Callable[..., Any], channels: int) -> None:
        kind = network.func if isinstance(network, partial) else network
        if not (inspect.isclass(kind) and issubclass(kind, deepinv().models.Denoiser)):
            name = getattr(kind, "__name__", kind)
            raise ConfigError(f"DeepinvDenoiser.network = {name}: a denoiser of deepinv is needed.")
        super().__init__(network, channels, "argument", 1)
        self.trained = _pretrained(network)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        if isinstance(sigma, Tensor):
            sigma = sigma.reshape(-1).expand(len(v)).to(v)
        return super().forward(v, sigma)


def _pretrained(make: Callable[..., Any]) -> bool:
    """Whether the weights come with the network: deepinv downloads them by default."""
    given = make.keywords if isinstance(make, partial) else {}
    asked = inspect.signature(make).parameters
    default = asked["pretrained"].default if "pretrained" in asked else None
    return given.get("pretrained", default) is not None
