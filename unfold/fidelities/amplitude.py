"""Least squares of amplitudes, for measurements without phase."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.fidelities.fidelity import Fidelity, expect_step
from unfold.physics.operator import Operator
from unfold.pytree import batched_inner
from unfold.typing import Image, Measurement, PerImage, Scalar


@dataclass(frozen=True)
class Amplitude(Fidelity):
    """d(v, y) = ½‖|v| − y‖², for real or complex v and real y: what is measured is |Ax|.

    It is not convex. At v = 0, where |v| has no derivative, v/|v| is taken to be 1: the gradient
    then points away from 0, which is no minimum where y > 0.

    Source: Zhang et al., A nonconvex approach for phase retrieval: reshaped Wirtinger flow and
    incremental algorithms, JMLR 18 (2017), section 2.
    """

    provides = frozenset({"grad"})
    convex = False

    def value(self, v: Measurement, y: Measurement) -> PerImage:
        r = v.abs() - _real(y)
        return 0.5 * batched_inner(r, r)

    def grad(self, v: Measurement, y: Measurement) -> Measurement:
        """∇d = v − y v/|v|."""
        return v - _real(y) * phase(v)

    def prox(self, v: Measurement, y: Measurement, gamma: Scalar) -> Measurement:
        """max(|v| + γy, 0) / (1 + γ) · v/|v|: the phase stays."""
        expect_step(self, gamma)
        return ((v.abs() + gamma * _real(y)) / (1 + gamma)).clamp(min=0) * phase(v)

    def back_projected(self, operator: Operator, y: Measurement) -> Image:
        """A*y, the amplitudes being those of phase 0 where A measures complex numbers."""
        return operator.back_project(y + 0j if operator.complex_measurements else y)

    def prox_conj(self, u: Measurement, y: Measurement, sigma: Scalar) -> Measurement:
        """Refused: Moreau's identity holds for a convex d only."""
        raise ConfigError(
            "Amplitude is not convex, so that the prox of its conjugate does not lead to its "
            "minimum. Use GD, which needs its gradient."
        )


def phase(v: Tensor) -> Tensor:
    """v/|v|, and 1 at 0."""
    return torch.where(v == 0, torch.ones_like(v), v.sgn())


def _real(y: Measurement) -> Tensor:
    if y.is_complex():
        raise ConfigError("Amplitude expects amplitudes |Ax|, and this measurement is complex.")
    return y
