"""Schedules: their ends, their formula, and their errors."""

from itertools import pairwise

import pytest

from unfold.errors import ConfigError
from unfold.parameters.schedules import (
    Annealing,
    BeckTeboulle,
    ChambolleDossal,
    Geometric,
    Linear,
)


def test_geometric_has_a_constant_ratio_and_then_stays():
    schedule = Geometric(start=8.0, stop=0.5, iterations=5)
    assert [schedule.at(k) for k in range(7)] == pytest.approx([8, 4, 2, 1, 0.5, 0.5, 0.5])


def test_annealing_is_the_penalty_of_dpir():
    levels = [49 * (2.55 / 49) ** (k / 7) for k in range(8)]  # their logspace, of 255
    alpha = [0.23 * 2.55**2 / level**2 for level in levels]
    schedule = Annealing(start=49 / 255, stop=0.01, iterations=8)
    assert [1 / schedule.at(k) for k in range(8)] == pytest.approx(alpha)
    assert schedule.at(20) == pytest.approx(1 / 0.23)


def test_linear_has_a_constant_difference_and_then_stays():
    schedule = Linear(start=1.0, stop=-1.0, iterations=3)
    assert [schedule.at(k) for k in range(5)] == pytest.approx([1, 0, -1, -1, -1])


def test_the_momentum_of_chambolle_and_dossal():
    schedule = ChambolleDossal(a=3.0)
    assert schedule.values(4) == pytest.approx([0, 1 / 5, 2 / 6, 3 / 7])
    # t_k = (k + a − 1)/a satisfies t_{k+1}² − t_{k+1} ≤ t_k², on which the rate rests.
    for a in (2.1, 3.0, 10.0):
        t = [(k + a - 1) / a for k in range(1, 50)]
        assert all(new * new - new <= old * old for old, new in pairwise(t))
        found = [(old - 1) / new for old, new in pairwise(t)]
        assert ChambolleDossal(a).values(48) == pytest.approx(found)
    with pytest.raises(ConfigError, match=r"ChambolleDossal.a = 2.0: must be above 2"):
        ChambolleDossal(2.0)


def test_the_momentum_of_beck_and_teboulle():
    golden = (1 + 5**0.5) / 2
    third = (1 + (1 + 4 * golden**2) ** 0.5) / 2
    assert BeckTeboulle().values(2) == pytest.approx([0, (golden - 1) / third])
    assert [BeckTeboulle().at(k) for k in range(30)] == BeckTeboulle().values(30)
    assert BeckTeboulle().at(999) == pytest.approx(1 - 3 / 1000, abs=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Geometric(0.0, 1.0, 3), "Geometric.start = 0.0: must be positive"),
        (lambda: Geometric(1.0, -1.0, 3), "Geometric.stop = -1.0: must be positive"),
        (lambda: Geometric(1.0, 2.0, 1), "Geometric.iterations = 1: must be at least 2"),
        (lambda: Linear(0.0, 1.0, 1), "Linear.iterations = 1: must be at least 2"),
    ],
)
def test_values_that_make_no_schedule_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
