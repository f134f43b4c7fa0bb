"""Fidelities for Gaussian noise: least squares, and a ball for noise of known size."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.fidelities.fidelity import DataTerm, Fidelity, expect_step
from unfold.parameters.bounds import Declared, bounded, inside, whole
from unfold.pytree import batched_inner
from unfold.solvers.conjugate_gradient import Budget, Until, default_tol
from unfold.solvers.lsqr import damped_least_squares
from unfold.typing import Image, Measurement, PerImage, Scalar


class L2Prox(ABC):
    """How argmin_x γ/2 ‖Ax − y‖² + ½‖x − z‖² is found."""

    @abstractmethod
    def point(self, data: DataTerm, z: Image, gamma: Scalar, start: Image | None) -> Image:
        """The minimiser; where it takes iterations, from `start` or else from z."""


@dataclass(frozen=True)
class NormalEquations(Declared, L2Prox):
    """(I + γA*A)⁻¹(z + γA*y): in closed form where A has one, else by conjugate gradients.

    Its relative error grows as γ‖A‖² times that of the precision: see `LeastSquares`.

    Iterations that stop at a relative residual r leave a relative error of up to (1 + γ‖A‖²) r.
    Gradients are those of the exact solution, by one more solve with the same limits: they have an
    error of that size, too. The residuals that are reached are among the metrics of training.

    Args:
        tol: relative residual at which iterations stop; None for what the model needs.
        max_iterations: after which they stop in any case, without a warning; None for 1000, with
            one.
    """

    tol: float | None = bounded(None, inside("(0, 1)"))
    max_iterations: int | None = bounded(None, whole(1), "of conjugate gradients")

    def point(self, data: DataTerm, z: Image, gamma: Scalar, start: Image | None) -> Image:
        b = z + gamma * data.At_y
        near = z if start is None else start
        tol = data.solve_tol if self.tol is None else self.tol
        until: Until = tol
        if self.max_iterations is not None:
            own = default_tol(b.dtype) if tol is None else tol
            until = Budget(own, self.max_iterations, wanted=True)
        return data.operator.solve_normal(b, gamma, near, until)


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


@dataclass(frozen=True)
class L2(Fidelity):
    """d(v, y) = ½‖v − y‖²: the negative log-likelihood of Gaussian noise of variance 1.

    Args:
        through: how its prox through an operator is found.
    """

    provides = frozenset({"grad", "prox", "prox_conj", "quadratic"})

    through: L2Prox = NormalEquations()

    def value(self, v: Measurement, y: Measurement) -> PerImage:
        return 0.5 * batched_inner(v - y, v - y)

    def lipschitz(self, y: Measurement) -> float | PerImage:
        return 1.0

    def grad(self, v: Measurement, y: Measurement) -> Measurement:
        """∇d = v − y."""
        return v - y

    def prox(self, v: Measurement, y: Measurement, gamma: Scalar) -> Measurement:
        """(v + γy) / (1 + γ)."""
        expect_step(self, gamma)
        return (v + gamma * y) / (1 + gamma)

    def prox_conj(self, u: Measurement, y: Measurement, sigma: Scalar) -> Measurement:
        """(u − σy) / (1 + σ)."""
        expect_step(self, sigma)
        return (u - sigma * y) / (1 + sigma)

    def grad_through(self, data: DataTerm, x: Image) -> Image:
        """∇f(x) = A*Ax − A*y, with A*y from the cache; J(x)*(A(x) − y) where A is not linear."""
        return data.operator.least_squares_gradient(x, data.y, data.At_y)

    def prox_through(
        self, data: DataTerm, z: Image, gamma: Scalar, start: Image | None = None
    ) -> Image:
        """argmin_x γ/2 ‖Ax − y‖² + ½‖x − z‖²; iterations begin at `start`, or else at z."""
        return self.through.point(data, z, gamma, start)
