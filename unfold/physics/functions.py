"""The law of a linear map that the user has written."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unfold.physics.foreign import OwnFunction
from unfold.physics.user import Functions
from unfold.typing import Measurement, Shape


@dataclass(frozen=True)
class FunctionPhysics(OwnFunction):
    """y = Ax with noise, A a function that is linear, differentiable and sample by sample.

    `unfold check physics=functions` tells whether it is, and whether the adjoint is its own. One
    that is not linear is for physics=nonlinear_functions.

    Args:
        noise: added to the measurement.
        forward: x ↦ Ax, from (B, C, H, W); a function, or an object that is called as one.
        adjoint: y ↦ A*y; the reverse mode of A where it is None.
    """

    adjoint: Callable[[Tensor], Tensor] | None = None

    def made(self, shape: Shape, y: Measurement, like: Tensor) -> Functions:
        return Functions(self.forward, shape, tuple(y.shape[1:]), self.adjoint, like)
