"""SIRT, and the sums of rows and columns of operators without negative entries."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState, flat
from unfold.errors import ConfigError
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.problem import Problem
from unfold.pytree import per_image
from unfold.random import generator
from unfold.typing import Field, Scalar


@dataclass(frozen=True)
class SIRT(Algorithm[ImageState]):
    """Simultaneous iterative reconstruction for weighted least squares min_x ½‖Ax − y‖²_R.

    x⁺ = x + τ C A*R(y − Ax), C = diag(1/A*1), R = diag(1/A1).

    Minimises ½‖Ax − y‖² with the weights R. There is no place for a prior: regularisation is to
    stop early, and learned parts of a prior cannot act. With another fidelity, −∇d(Ax, y) stands
    for y − Ax. A pixel that no measurement covers is unchanged. A must have no negative entries.

    Args:
        stepsize: τ; converges for τ in (0, 2), whatever the operator's norm.

    Source: Gregor and Benson, Computational analysis and improvement of SIRT, TMI 27 (2008),
    equation (2), with the relaxation τ.
    """

    needs_f = frozenset({"grad"})
    uses_g = False
    solves = "½‖Ax − y‖² with the weights R"

    stepsize: Scalar = param(1.0, positive)

    def init(self, problem: Problem) -> ImageState:
        expect_nonnegative(self, problem)
        return ImageState(x=problem.start)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        f, tau = problem.f, self.stepsize
        C, R = inverse(f.column_sums), inverse(f.row_sums)
        slope = f.fidelity.grad(problem.A(state.x), problem.y)
        x = state.x - tau * C * problem.A_adjoint(R * slope)
        return ImageState(x)

    def guarantee(self, problem: Problem) -> Guarantee:
        constant = flat(problem.f.fidelity.lipschitz(problem.y))
        condition = "0 < stepsize < 2/L_d, which is 2 for least squares"
        return Guarantee.when(condition, flat(self.stepsize) * constant < 2)


def expect_nonnegative(owner: object, problem: Problem) -> None:
    """Refuse an operator with a negative entry, as far as one positive image can show it.

    The image has random values over five orders of magnitude: what a negative entry takes away is
    then larger than what the other entries of its row bring, for some pixel or other.

    Raises:
        ConfigError: a measurement of the image is negative, or the operator is complex.
    """
    name, kind = type(owner).__name__, type(problem.f.operator).__name__
    x = problem.start
    if x.is_complex() or problem.y.is_complex():
        raise ConfigError(f"{name} needs real images and measurements, and {kind} is complex.")
    numbers = generator("nonnegative").standard_normal(tuple(x.shape[1:]))
    probe = torch.from_numpy(numbers).to(x).mul(2.5).exp()
    image = problem.A(probe.expand_as(x)).flatten(1)
    # A Fourier transform leaves rounding where an entry is 0.
    if bool((image.amin(1) < -1e-5 * image.abs().amax(1)).any()):
        raise ConfigError(
            f"{name} needs an operator without negative entries, and {kind} makes a negative "
            "measurement of a positive image. Use PGD or PDHG, which do not need that."
        )


def inverse(sums: Field) -> Field:
    """1/s, and 0 where s is 0."""
    return torch.where(covered(sums), 1 / filled(sums), 0)


def filled(sums: Field) -> Field:
    """s, and its largest value of the image where it is 0: then every number would do."""
    largest = per_image(sums.flatten(1).amax(1), sums)
    return torch.where(covered(sums), sums, largest)


def covered(sums: Field) -> Tensor:
    """Where s is not 0: a pixel that measurements cover, a measurement that covers pixels."""
    return sums > 1e-6 * per_image(sums.flatten(1).amax(1), sums)
