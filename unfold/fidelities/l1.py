"""Least absolute deviations."""

from dataclasses import dataclass

from unfold.fidelities.fidelity import Fidelity, expect_step
from unfold.thresholds import soft
from unfold.typing import Measurement, PerImage, Scalar


@dataclass(frozen=True)
class L1Fidelity(Fidelity):
    """d(v, y) = ‖v − y‖₁: the negative log-likelihood of Laplacian noise, robust to outliers.

    Source: Nikolova, A variational approach to remove outliers and impulse noise, J. Math. Imaging
    Vis. 20 (2004), section 1.
    """

    provides = frozenset({"prox_conj"})

    def value(self, v: Measurement, y: Measurement) -> PerImage:
        return (v - y).abs().flatten(1).sum(1)

    def prox(self, v: Measurement, y: Measurement, gamma: Scalar) -> Measurement:
        """y + soft(v − y, γ)."""
        expect_step(self, gamma)
        return y + soft(v - y, gamma)

    def prox_conj(self, u: Measurement, y: Measurement, sigma: Scalar) -> Measurement:
        """(u − σy) / max(1, |u − σy|)."""
        expect_step(self, sigma)
        moved = u - sigma * y
        return moved / moved.abs().clamp(min=1)
