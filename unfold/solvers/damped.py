"""Damped least squares, which is plain least squares of a taller operator."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfold.solvers.conjugate_gradient import MAX_ITERATIONS
from unfold.solvers.least_norm import least_norm
from unfold.typing import Image, Measurement, Scalar

if TYPE_CHECKING:
    from unfold.physics.operator import Operator
else:
    Operator = Any


def damped_least_squares(
    operator: Operator,
    y: Measurement,
    damp: Scalar,
    centre: Image,
    *,
    tol: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> Image:
    """argmin_x ‖Ax − y‖² + δ²‖x − c‖², by the least squares of (A, δI).

    The condition number is that of (A, δI), where the normal equations square it: for small δ in
    single precision the answer keeps its digits.

    Args:
        operator: A, through `forward`, `adjoint` and its shapes.
        y: (B, …), real or complex.
        damp: δ > 0, a number, a 0-d tensor or (B, 1, 1, 1); it may be learned.
        centre: c, (B, C, H, W).
        tol: as of `least_norm`, relative to A*y + δ²c.
        max_iterations: applications of A and of A* at most.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`.

    Source: Paige and Saunders, LSQR: an algorithm for sparse linear equations and sparse least
    squares, ACM TOMS 8 (1982), section 1, for the taller operator.
    """
    own = (damp * centre).flatten(1)
    rows = torch.cat([y.flatten(1), own.to(y.dtype) if y.is_complex() else own], 1)
    taller: Any = _Damped(operator, damp)
    return least_norm(taller, rows, tol=tol, max_iterations=max_iterations)


@dataclass(frozen=True, eq=False)
class _Damped:
    """x ↦ (Ax, δx), flat."""

    operator: Operator
    damp: Scalar

    def forward(self, x: Image) -> Tensor:
        Ax = self.operator.forward(x)
        return torch.cat([Ax.flatten(1), (self.damp * x).to(Ax.dtype).flatten(1)], 1)

    def adjoint(self, z: Tensor) -> Image:
        count = math.prod(self.operator.measurement_shape)
        back = self.operator.adjoint(z[:, :count].reshape(-1, *self.operator.measurement_shape))
        own = z[:, count:].reshape(back.shape)
        return back + self.damp * (own if back.is_complex() else own.real)
