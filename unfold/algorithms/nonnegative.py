"""Operators without negative entries: a check, and sums of rows and columns."""

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.problem import Problem
from unfold.pytree import per_image
from unfold.random import generator
from unfold.typing import Field


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
        raise ConfigError(
            f"{name} needs real images and measurements, and {kind} is complex. Use PGD or PDHG."
        )
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
