"""An operator whose iterative solves stop early."""

from dataclasses import dataclass, replace

from unfold.physics.batch import Grouped, Packed
from unfold.physics.operator import Operator
from unfold.physics.wrapped import Isometric
from unfold.solvers.conjugate_gradient import solve_normal
from unfold.typing import Field, Image, Measurement, Scalar


def loosened(operator: Operator, tol: float) -> Operator:
    """A, whose solves by conjugate gradients stop at `tol`, also those of a group; or A itself."""
    if isinstance(operator, Grouped):
        return replace(operator, operators=tuple(loosened(A, tol) for A in operator.operators))
    if isinstance(operator, Packed):
        return replace(operator, operator=loosened(operator.operator, tol))
    closed = type(operator).solve_normal is not Operator.solve_normal
    return operator if closed else Loose(operator, tol)


@dataclass(frozen=True, eq=False)
class Loose(Isometric):
    """A, whose (I + γA*A)⁻¹b is found to ‖b − (I + γA*A)x‖ ≤ tol ‖b‖, or in closed form.

    For algorithms that measure how far they are: errors of the solves show in what they measure.

    Args:
        operator: A.
        tol: of the solves by conjugate gradients; closed forms stay exact.
    """

    tol: float

    def post(self, v: Field) -> Measurement:
        return v

    def post_adjoint(self, y: Measurement) -> Field:
        return y

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """By conjugate gradients to `tol`, unless A has a form of its own."""
        if type(self.operator).solve_normal is Operator.solve_normal:
            return solve_normal(self.operator, b, gamma, tol=self.tol, start=start)
        return self.operator.solve_normal(b, gamma, start)
