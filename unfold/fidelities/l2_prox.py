"""The prox of ½‖Ax − y‖², two ways."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.fidelities.fidelity import DataTerm, expect_step
from unfold.solvers.lsqr import damped_least_squares
from unfold.typing import Image, Scalar


class L2Prox(ABC):
    """How argmin_x γ/2 ‖Ax − y‖² + ½‖x − z‖² is found."""

    @abstractmethod
    def point(self, data: DataTerm, z: Image, gamma: Scalar, start: Image | None) -> Image:
        """The minimiser; where it takes iterations, from `start` or else from z."""


@dataclass(frozen=True)
class NormalEquations(L2Prox):
    """(I + γA*A)⁻¹(z + γA*y): in closed form where A has one, else by conjugate gradients.

    Its relative error grows as γ‖A‖² times that of the precision: see `LeastSquares`.
    """

    def point(self, data: DataTerm, z: Image, gamma: Scalar, start: Image | None) -> Image:
        b = z + gamma * data.At_y
        near = z if start is None else start
        return data.operator.solve_normal(b, gamma, near, data.solve_tol)


@dataclass(frozen=True)
class LeastSquares(L2Prox):
    """s + argmin_e γ‖Ae − (y − As)‖² + ‖e − (z − s)‖², s the start, by iterations for every A.

    Nothing is squared: γ‖A‖² = 1e4 leaves a relative error of 2e-7 to 2e-4 in single precision,
    where the normal equations leave 6e-5 to 4e-3 (tomography, blurs, coils, random measurements;
    32 x 32 pixels). It takes a few more applications of A and A*, and no preconditioner.
    """

    def point(self, data: DataTerm, z: Image, gamma: Scalar, start: Image | None) -> Image:
        expect_step(data.fidelity, gamma)
        # The minimiser does not depend on where the iterations begin, and so has no gradient of it.
        s = (z if start is None else start).detach()
        residual = data.y - data.operator.A(s)
        e: Tensor = damped_least_squares(data.operator, residual, gamma, z - s)
        return torch.add(s, e)
