"""Damped least squares, which is plain least squares of a taller operator."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfold.solvers.conjugate_gradient import MAX_ITERATIONS
from unfold.solvers.least_norm import least_norm
from unfold.tree import per_field
from unfold.typing import Image, Measurement, Scalar

if TYPE_CHECKING:
    from unfold.physics.operator import Operator
else:
    Operator = Any


def damped_least_squares(
    operator: Operator,
    y: Measurement,
    gamma: Scalar,
    centre: Image,
    *,
    tol: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> Image:
    """argmin_x γ‖Ax − y‖² + ‖x − c‖², by the least squares of (√γ A, I).

    The condition number is that of (√γ A, I), where the normal equations square it: for large γ in
    single precision the answer keeps its digits.

    Args:
        operator: A, through `forward`, `adjoint` and its shapes.
        y: (B, …), real or complex.
        gamma: γ ≥ 0, a number, a 0-d tensor or (B, 1, 1, 1); it may be learned, if positive.
        centre: c, (B, C, H, W).
        tol: as of `least_norm`, relative to γA*y + c.
        max_iterations: applications of A and of A* at most.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`.

    Source: Paige and Saunders, LSQR: an algorithm for sparse linear equations and sparse least
    squares, ACM Trans. Mathematical Software 8 (1982), section 1, for the taller operator.
    """
    root = gamma.sqrt() if isinstance(gamma, Tensor) else gamma**0.5
    taller: Any = _Damped(operator, root)
    return least_norm(taller, taller.rows(y, centre), tol=tol, max_iterations=max_iterations)


@dataclass(frozen=True, eq=False)
class _Damped:
    """x ↦ (√γ Ax, x), flat."""

    operator: Operator
    root: Scalar

    def rows(self, y: Measurement, x: Image) -> Tensor:
        """(√γ y, x)."""
        weighted: Tensor = per_field(self.root, y) * y
        return torch.cat([weighted.flatten(1), x.flatten(1).to(weighted.dtype)], 1)

    def forward(self, x: Image) -> Tensor:
        return self.rows(self.operator.forward(x), x)

    def adjoint(self, z: Tensor) -> Image:
        shape = self.operator.measurement_shape
        rows = z[:, : math.prod(shape)].reshape(-1, *shape)
        back = self.operator.adjoint(per_field(self.root, rows) * rows)
        own = z[:, math.prod(shape) :].reshape(back.shape)
        return back + (own if back.is_complex() else own.real)
