"""Networks of other packages, and of the user, as denoisers."""

import inspect
from abc import ABC
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unfold.denoisers.denoiser import Denoiser, at_multiple, with_level
from unfold.errors import ConfigError
from unfold.typing import Image, Scalar

Level = Literal["none", "argument", "channel"]
"""How a network receives σ: not at all, as its second argument, or as one more channel."""

SIDE = 32
"""Of the image on which a network is tried; a power of 2 suits networks of scales."""


class Adapted(Denoiser, ABC):
    """D(v, σ) = a network that is none of ours, trained further like any other.

    Args:
        network: makes it: a class with its arguments, `_partial_: true` in a yaml.
        channels: of the images.
        level: how it receives σ; None: as a second argument, if it has one without a default.
        multiple: what the sides of its images are extended to, by their last row and column.

    Raises:
        ConfigError: it does not turn images of these channels into images of the same size.
    """

    def __init__(
        self, network: Callable[..., Any], channels: int, level: Level | None, multiple: int
    ) -> None:
        super().__init__()
        made = network()
        owner, name = type(self).__name__, type(made).__name__
        if not isinstance(made, nn.Module):
            raise ConfigError(f"{owner}.network = {name}: a class of nn.Module is needed.")
        self.network, self.channels = made, channels
        self.level, self.multiple = level or _receives(made), multiple
        try:
            low, high = self._tried(0.01), self._tried(0.2)
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            raise ConfigError(
                f"{owner}.network = {name}: it does not act on images of {channels} channels: "
                f"{error}"
            ) from error
        if low.shape != (1, channels, SIDE, SIDE):
            raise ConfigError(
                f"{owner}.network = {name}: images of {(channels, SIDE, SIDE)} become "
                f"{tuple(low.shape[1:])}. A denoiser keeps their channels and sides."
            )
        # Some networks accept a level and ignore it.
        self.uses_sigma = not torch.equal(low, high)

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.expect(v)
        return self.called(v, sigma)

    def called(self, v: Tensor, sigma: Scalar) -> Tensor:
        """What the network makes of images, whatever their channels."""

        def network(x: Tensor) -> Tensor:
            given = (with_level(x, sigma) if self.level == "channel" else x,)
            made: Tensor = self.network(*given, *((sigma,) if self.level == "argument" else ()))
            return made

        return at_multiple(self.multiple, network, v)

    @torch.no_grad()
    def _tried(self, sigma: float) -> Tensor:
        v = torch.linspace(0, 1, self.channels * SIDE**2).reshape(1, self.channels, SIDE, SIDE)
        mode = self.network.training
        self.network.eval()
        denoised = self.called(v, sigma)
        self.network.train(mode)
        return denoised


class ModuleDenoiser(Adapted):
    """D(v, σ) = a plain `nn.Module` of yours, or one of MONAI: `pip install -e '.[monai]'`."""

    def __init__(
        self,
        network: Callable[..., Any],
        channels: int,
        level: Level | None = None,
        multiple: int = 1,
    ) -> None:
        if not 1 <= multiple <= 1024:
            raise ConfigError(f"ModuleDenoiser.multiple = {multiple}: must be from 1 to 1024.")
        super().__init__(network, channels, level, multiple)
        self.uses_sigma = self.level != "none"  # untrained, some ignore it at first


def _receives(network: nn.Module) -> Level:
    second = list(inspect.signature(network.forward).parameters.values())[1:2]
    needs = any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in second)
    return "argument" if needs else "none"
