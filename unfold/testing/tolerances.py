"""Tolerances of the properties of operators, in double and in single precision."""

from typing import NamedTuple

import torch
from torch import Tensor


class Tolerances(NamedTuple):
    """Relative errors.

    adjoint: of A* against Aᴴ, as matrices, in the norm of Frobenius.
    entrywise: the same for each entry.
    linear: of A(ax + bz).
    product: of A*A, and of the derivatives of A.
    norm: of ‖A‖², from above.
    inverse: of A⁺, relative to ‖A⁺‖.
    solve: of (I + γA*A)⁻¹b.
    solve_gradient: of its derivatives.
    parameter: of the derivatives of A in the operator's own tensors.
    batch: between a single sample and the same in a batch.
    """

    adjoint: float
    entrywise: float
    linear: float
    product: float
    norm: float
    inverse: float
    solve: float
    solve_gradient: float
    parameter: float
    batch: float


IN_DOUBLE = Tolerances(1e-10, 1e-12, 1e-12, 1e-10, 1e-4, 1e-8, 1e-8, 1e-6, 1e-6, 1e-12)
IN_SINGLE = Tolerances(1e-5, 1e-6, 1e-5, 1e-5, 1e-3, 1e-3, 1e-4, 1e-3, 1e-2, 1e-6)


def single(dtype: torch.dtype) -> bool:
    """Whether the precision is single."""
    return torch.finfo(dtype).eps > 1e-10


def tolerances(dtype: torch.dtype) -> Tolerances:
    """The errors allowed in this precision."""
    return IN_SINGLE if single(dtype) else IN_DOUBLE


def largest(t: Tensor) -> float:
    """The largest entry, NaN where there is one."""
    return float(t.detach().max())


def tiny(dtype: torch.dtype) -> float:
    """The smallest normal number of this dtype."""
    return float(torch.finfo(dtype).tiny)
