"""Linear maps from images to fields, for quadratic priors."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.priors.tv import gradient, gradient_adjoint
from unfold.typing import Field, Image


class LinearMap(ABC):
    """L, of images of any size."""

    @abstractmethod
    def forward(self, x: Image) -> Field:
        """Lx."""

    @abstractmethod
    def adjoint(self, u: Field) -> Image:
        """L*u."""

    def normal(self, x: Image) -> Image:
        """L*Lx."""
        return self.adjoint(self.forward(x))


@dataclass(frozen=True)
class Differences(LinearMap):
    """L = D: forward differences down and to the right, 0 across the last edge; ‖D‖² < 8."""

    def forward(self, x: Image) -> Field:
        return gradient(x)

    def adjoint(self, u: Field) -> Image:
        return gradient_adjoint(u)
