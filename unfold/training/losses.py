"""Losses between a reconstruction and the image behind it: `loss`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from unfold.typing import Image

Loss0 = Float[Tensor, ""]


class Loss(ABC):
    """A number that training makes small."""

    @abstractmethod
    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        """The loss of a batch."""


@dataclass(frozen=True)
class MSE(Loss):
    """mean |x̂ − x|², over pixels, channels and images."""

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return (reconstruction - truth).abs().square().mean()


@dataclass(frozen=True)
class L1Loss(Loss):
    """mean |x̂ − x|, over pixels, channels and images."""

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return (reconstruction - truth).abs().mean()
