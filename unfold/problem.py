"""The problem of one batch, min_x f(x) + λ g(x), and its initial image."""

import math
from dataclasses import dataclass

from unfold.fidelities.fidelity import DataTerm, Fidelity, data_term
from unfold.initialization import BackProjection, Start
from unfold.physics.operator import Operator
from unfold.priors.prior import Prior
from unfold.typing import Image, Measurement, PerImage


@dataclass(frozen=True, eq=False)
class Problem:
    """All that an iteration needs besides its own parameters.

    Args:
        f: the data term d(A·, y), which keeps A*y for the whole batch.
        g: the prior; where iterations have different priors, that of iteration k.
        start: the image that the initial state is made of.
        noise_level: σ, the standard deviation of the noise of y, (B,); None where it is not known.
    """

    f: DataTerm
    g: Prior
    start: Image
    noise_level: PerImage | None = None

    @property
    def y(self) -> Measurement:
        """The measurement."""
        return self.f.y

    @property
    def At_y(self) -> Image:
        """A*y, computed once per batch."""
        return self.f.At_y

    @property
    def norm_squared(self) -> PerImage:
        """‖A‖² per image; computed once per operator."""
        return self.f.operator.norm_squared.to(self.y.device)

    @property
    def lipschitz(self) -> PerImage:
        """L_f = L_d ‖A‖², a Lipschitz constant of ∇f per image; infinite where none is known.

        None is known where A is not linear.
        """
        linear = self.f.operator.linear
        constant = self.f.fidelity.lipschitz(self.y) if linear else math.inf
        return constant * self.norm_squared

    def A(self, x: Image) -> Measurement:
        """Ax."""
        return self.f.operator.A(x)

    def A_adjoint(self, y: Measurement) -> Image:
        """A*y."""
        return self.f.operator.A_adjoint(y)


def make_problem(
    fidelity: Fidelity,
    operator: Operator,
    y: Measurement,
    g: Prior,
    start: Start | None = None,
    solve_tol: float | None = None,
) -> Problem:
    """The problem of a measurement; A*y and the start, `BackProjection` if not given, are here."""
    f = data_term(fidelity, operator, y, solve_tol)
    return Problem(f, g, (start or BackProjection()).image(f))
