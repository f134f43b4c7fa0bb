"""The law of a linear map that the user has written."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unfold.physics.foreign import Foreign, named, tried, zero
from unfold.physics.user import Functions
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class FunctionPhysics(Foreign):
    """y = Ax with noise, A a function that is linear, differentiable and sample by sample.

    `unfold check physics=functions` tells whether it is, and whether the adjoint is its own. One
    that is not linear is for physics=nonlinear_functions.

    Args:
        noise: added to the measurement.
        forward: x ↦ Ax, from (B, C, H, W); a function, or an object that is called as one.
        adjoint: y ↦ A*y; the reverse mode of A where it is None.
    """

    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor] | None = None

    @property
    def is_fixed(self) -> bool:
        return True

    @property
    def map_name(self) -> str:
        """The name of the function."""
        return named(self.forward)

    def sample(self, draws: Draws, shape: Shape) -> Functions:
        """The same for every image.

        Raises:
            ShapeError: A refuses such images.
            ConfigError: what A makes is no batch of measurements.
        """
        y = tried(self.forward, shape, draws)
        made = Functions(self.forward, shape, tuple(y.shape[1:]), self.adjoint, zero(draws))
        self.examine(made, y)
        return made
