"""Damped least squares, which is plain least squares of a taller operator."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfold.solvers.conjugate_gradient import MAX_ITERATIONS
from unfold.solvers.least_norm import LeastSquaresMethod, least_norm
from unfold.solvers.lsqr import LSQR
from unfold.typing import Image, Measurement, Scalar

if TYPE_CHECKING:
    from unfold.physics.operator import Operator
else:
    Operator = Any


def damped_least_squares(
    operator: Operator,
    y: Measurement,
    damp: Scalar,
    *,
    tol: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    method: LeastSquaresMethod | None = None,
) -> Image:
    """argmin ‖Ax − y‖² + δ²‖x‖², its condition that of (A, δI) and not squared.

    Args:
        operator: A, through `forward`, `adjoint` and its shapes.
        y: (B, …), real or complex.
        damp: δ, a number, a 0-d tensor or (B, 1, 1, 1); it may be learned.
        tol: as of `least_norm`.
        max_iterations: applications of A and of A* at most.
        method: how; LSQR if None.

    Warns:
        ConvergenceWarning: a sample is above `tol` after `max_iterations`.
    """
    zero = y.new_zeros(len(y), math.prod(operator.image_shape))
    return least_norm(
        _Damped(operator, damp),  # type: ignore[arg-type]
        torch.cat([y.flatten(1), zero], 1),
        tol=tol,
        max_iterations=max_iterations,
        method=method or LSQR(),
    )


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
