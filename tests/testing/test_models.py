"""The kit on an equilibrium whose step solves a linear system of its own."""

import pytest

from tests.engine import blur, measured, reconstructor
from unfold.algorithms.pidal import PIDAL
from unfold.models.deq import DEQ
from unfold.testing import check_equilibrium


@pytest.mark.parametrize("stepsize", [0.3, 3.0])
def test_the_gradient_of_a_multiple_split_is_the_implicit_one(stepsize: float):
    """In y and in every scalar, against a dense solve, at contraction 0.92 and 0.67."""
    A = blur(3)
    algorithm = PIDAL(stepsize=stepsize, stepsize_data=stepsize, lambda_reg=0.2, low=-5.0, high=5.0)
    check_equilibrium(reconstructor(algorithm, DEQ()), measured(A), A).raise_if_failed()
