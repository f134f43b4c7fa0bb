"""The indicator of a ball around the measurement."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.fidelities.fidelity import Fidelity, expect_step
from unfold.parameters.bounds import Declared, bounded, nonnegative, positive
from unfold.physics.operator import Operator
from unfold.pytree import batched_norm, per_image
from unfold.typing import Measurement, PerImage, Scalar


@dataclass(frozen=True)
class Discrepancy(Declared):
    """ε = factor · σ√m, the size of Gaussian noise over the m entries of a measurement.

    Args:
        sigma: σ, the standard deviation of the noise, in the unit of y.
        factor: 1 or a little more; below 1 the true image may lie outside.

    Source: Morozov, On the solution of functional equations by the method of regularization,
    Soviet Math. Dokl. 7 (1966).
    """

    sigma: float = bounded(accepted=positive)
    factor: float = bounded(1.0, positive)

    def over(self, entries: int) -> float:
        """ε of a measurement with so many entries."""
        return self.factor * self.sigma * math.sqrt(entries)


@dataclass(frozen=True)
class L2Ball(Fidelity):
    """d(v, y) = 0 where ‖v − y‖ ≤ ε, else ∞: the image must explain the measurement up to ε.

    It has no gradient, and its prox is the projection, whatever the step. The value allows for the
    rounding of a projected v.

    Args:
        radius: ε of every image, (B,) for an ε of each, or a `Discrepancy` that follows from the
            noise.

    Source: Afonso, Bioucas-Dias and Figueiredo, An augmented Lagrangian approach to the constrained
    optimization formulation of imaging inverse problems, TIP 20 (2011).
    """

    provides = frozenset({"prox_conj"})

    radius: float | Discrepancy | Tensor = bounded(accepted=nonnegative)

    def fitted(self, operator: Operator, y: Measurement) -> "L2Ball":
        """With the ε that the noise has over what the operator measures of each image."""
        if not isinstance(self.radius, Discrepancy):
            return self
        found = [self.radius.over(count) for count in operator.entries]
        radius = found[0] if len(set(found)) == 1 else y.new_tensor(found, dtype=y.dtype.to_real())
        return L2Ball(radius)

    def value(self, v: Measurement, y: Measurement) -> PerImage:
        distance = batched_norm(v - y)
        rounding = 8 * torch.finfo(distance.dtype).eps * (batched_norm(v) + batched_norm(y))
        outside = distance > self._epsilon(y) + rounding
        return torch.zeros_like(distance).masked_fill(outside, torch.inf)

    def prox(self, v: Measurement, y: Measurement, gamma: Scalar) -> Measurement:
        """y + r min(1, ε/‖r‖), r = v − y."""
        expect_step(self, gamma)
        r = v - y
        return y + r * per_image(self._shrink(r, self._epsilon(y)), r)

    def _epsilon(self, y: Measurement) -> float | PerImage:
        if isinstance(self.radius, Discrepancy):
            return self.radius.over(y[0].numel())
        return self.radius

    def _shrink(self, r: Measurement, epsilon: float | PerImage) -> PerImage:
        """min(1, ε/‖r‖)."""
        tiny = torch.finfo(r.dtype).tiny
        many = isinstance(epsilon, Tensor)
        floor = epsilon.clamp(min=tiny) if many else max(epsilon, tiny)  # type: ignore[union-attr]
        return epsilon / batched_norm(r).clamp(min=floor)
