"""Fidelities that are robust to outliers: least absolute deviations, Huber's loss."""

from dataclasses import dataclass

from unfold.fidelities.fidelity import Fidelity, expect_step
from unfold.parameters.bounds import bounded, positive
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


@dataclass(frozen=True)
class Huber(Fidelity):
    """d(v, y) = Σ ½r² where r = |v − y| ≤ δ, and δ(r − δ/2) beyond.

    Args:
        delta: δ > 0, in the unit of y; about the size of the noise that is no outlier.

    Source: Huber, Robust estimation of a location parameter, Ann. Math. Statist. 35 (1964).
    """

    provides = frozenset({"grad", "prox_conj"})

    delta: float = bounded(0.1, positive)

    def lipschitz(self, y: Measurement) -> float | PerImage:
        return 1.0

    def value(self, v: Measurement, y: Measurement) -> PerImage:
        r = (v - y).abs()
        inner = r.clamp(max=self.delta)
        return (inner * (r - 0.5 * inner)).flatten(1).sum(1)

    def grad(self, v: Measurement, y: Measurement) -> Measurement:
        """∇d = (v − y) min(1, δ/|v − y|)."""
        r = v - y
        return r * (self.delta / r.abs().clamp(min=self.delta))

    def prox(self, v: Measurement, y: Measurement, gamma: Scalar) -> Measurement:
        """y + r (1 − γδ / max(|r|, δ(1 + γ))), r = v − y."""
        expect_step(self, gamma)
        r = v - y
        excess = (r.abs() - self.delta * (1 + gamma)).clamp(min=0)
        return y + r * (1 - gamma * self.delta / (excess + self.delta * (1 + gamma)))
