"""Data terms: the discrepancy d(·, y), and f = d(A·, y) made of it."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared
from unfold.physics.operator import Operator
from unfold.pytree import per_field
from unfold.typing import Image, Measurement, PerImage, Scalar


@dataclass(frozen=True)
class Fidelity(Declared, ABC):
    """d(v, y), how far the clean measurement v is from the measured y.

    A subclass writes the formulas of d; those of f = d(A·, y) follow where they exist.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    """What algorithms may ask for: `grad` and `prox` of f = d(A·, y), `prox_conj` of d."""

    convex: ClassVar[bool] = True
    """Whether d(·, y) is."""

    def offers(self) -> frozenset[str]:
        """What algorithms may ask of this very fidelity."""
        return self.provides

    @abstractmethod
    def value(self, v: Measurement, y: Measurement) -> PerImage:
        """d(v, y) of each image."""

    def fitted(self, operator: Operator, y: Measurement) -> "Fidelity":
        """The same d, with what follows of its constants from the operator that measured y."""
        return self

    def lipschitz(self, y: Measurement) -> float | PerImage:
        """L_d, a Lipschitz constant of ∇d(·, y); infinite where none is known."""
        return math.inf

    def grad(self, v: Measurement, y: Measurement) -> Measurement:
        """∇d(·, y) at v."""
        raise ConfigError(f"{type(self).__name__} has no gradient; L2 has one.")

    def prox(self, v: Measurement, y: Measurement, gamma: Scalar) -> Measurement:
        """argmin_u γ d(u, y) + ½‖u − v‖²."""
        raise ConfigError(f"{type(self).__name__} has no prox; L2 has one.")

    def prox_conj(self, u: Measurement, y: Measurement, sigma: Scalar) -> Measurement:
        """The prox of σd*, by Moreau's identity: u − σ prox_{d/σ}(u/σ)."""
        return u - sigma * self.prox(u / sigma, y, 1 / sigma)

    def back_projected(self, operator: Operator, y: Measurement) -> Image:
        """A*y; J(x̄)* of the linearized data where A is not linear."""
        return operator.back_project(y)

    def grad_through(self, data: "DataTerm", x: Image) -> Image:
        """∇f(x) = J(x)*∇d(A(x), y), which is A*∇d(Ax, y) where A is linear."""
        return data.operator.vjp(x, self.grad(data.operator.A(x), data.y))

    def prox_through(
        self, data: "DataTerm", z: Image, gamma: Scalar, start: Image | None = None
    ) -> Image:
        """prox_{γf}(z), iterations from `start`, an image near the answer, or else from z."""
        others = " PDHG and PIDAL need only the prox of d itself."
        raise ConfigError(
            f"{type(self).__name__} has no prox through an operator; L2 has one."
            f"{others if 'prox_conj' in self.offers() else ''}"
        )


@dataclass(frozen=True, eq=False)
class DataTerm:
    """f(x) = d(Ax, y), with what is computed once for a batch.

    Args:
        fidelity: d.
        operator: A.
        y: the measurement.
        At_y: A*y; `data_term` computes it under the caller's gradient mode.
        solve_tol: at which iterative solves with A*A stop; the solver's own where it is None.
    """

    fidelity: Fidelity
    operator: Operator
    y: Measurement
    At_y: Image
    solve_tol: float | None = None

    def value(self, x: Image) -> PerImage:
        """f(x) of each image."""
        return self.fidelity.value(self.operator.A(x), self.y)

    def grad(self, x: Image) -> Image:
        """∇f(x)."""
        return self.fidelity.grad_through(self, x)

    def prox(self, z: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """argmin_x γf(x) + ½‖x − z‖²; where it takes iterations, from `start` or else from z."""
        return self.fidelity.prox_through(self, z, gamma, start)

    @cached_property
    def column_sums(self) -> Image:
        """A*1: the sensitivity of all measurements to each pixel; computed once."""
        return self.operator.A_adjoint(torch.ones_like(self.y))

    @cached_property
    def row_sums(self) -> Measurement:
        """A1: the sensitivity of each measurement to all pixels; computed once."""
        return self.operator.A(torch.ones_like(self.At_y))

    def prox_conj(self, u: Measurement, sigma: Scalar) -> Measurement:
        """The prox of σd*(·, y), the convex conjugate in the space of measurements."""
        return self.fidelity.prox_conj(u, self.y, per_field(sigma, u))


def data_term(
    fidelity: Fidelity, operator: Operator, y: Measurement, solve_tol: float | None = None
) -> DataTerm:
    """f = d(A·, y); A*y is computed here, once."""
    own = fidelity.fitted(operator, y)
    return DataTerm(own, operator, y, own.back_projected(operator, y), solve_tol)


def expect_step(owner: Fidelity, gamma: Scalar) -> None:
    """Refuse a negative number or NaN as a step; checking tensors would synchronize."""
    if not isinstance(gamma, Tensor) and not gamma >= 0:
        raise ConfigError(
            f"{type(owner).__name__}.prox: gamma = {gamma}: must be zero or positive."
        )
