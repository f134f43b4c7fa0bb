"""Least squares."""

from dataclasses import dataclass

from unfold.fidelities.fidelity import DataTerm, Fidelity, expect_step
from unfold.fidelities.l2_prox import L2Prox, NormalEquations
from unfold.pytree import batched_inner
from unfold.typing import Image, Measurement, PerImage, Scalar


@dataclass(frozen=True)
class L2(Fidelity):
    """d(v, y) = ½‖v − y‖²: the negative log-likelihood of Gaussian noise of variance 1.

    Args:
        through: how its prox through an operator is found.
    """

    provides = frozenset({"grad", "prox", "prox_conj"})

    through: L2Prox = NormalEquations()

    def value(self, v: Measurement, y: Measurement) -> PerImage:
        return 0.5 * batched_inner(v - y, v - y)

    def lipschitz(self, y: Measurement) -> float | PerImage:
        """1."""
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
