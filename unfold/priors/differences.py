"""Linear maps from images to fields, for quadratic priors."""

from dataclasses import dataclass

from unfold.priors.tv import gradient, gradient_adjoint
from unfold.solvers.interface import LinearMap
from unfold.typing import Field, Image


@dataclass(frozen=True)
class Differences(LinearMap):
    """L = D: forward differences down and to the right, 0 across the last edge; ‖D‖² < 8."""

    def forward(self, x: Image) -> Field:
        return gradient(x)

    def adjoint(self, u: Field) -> Image:
        return gradient_adjoint(u)
