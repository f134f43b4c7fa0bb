"""Schedules: their ends, their formula, and their errors."""

import pytest

from unfold.errors import ConfigError
from unfold.schedules import Geometric, Linear


def test_geometric_has_a_constant_ratio_and_then_stays():
    schedule = Geometric(start=8.0, stop=0.5, iterations=5)
    assert [schedule.at(k) for k in range(7)] == pytest.approx([8, 4, 2, 1, 0.5, 0.5, 0.5])


def test_linear_has_a_constant_difference_and_then_stays():
    schedule = Linear(start=1.0, stop=-1.0, iterations=3)
    assert [schedule.at(k) for k in range(5)] == pytest.approx([1, 0, -1, -1, -1])


def test_values_that_make_no_schedule_are_refused():
    for start, stop, iterations in ((0.0, 1.0, 3), (1.0, -1.0, 3), (1.0, 2.0, 1)):
        with pytest.raises(ConfigError, match=rf"start={start}, stop={stop}, iter.*={iterations}"):
            Geometric(start, stop, iterations)
    with pytest.raises(ConfigError, match="iterations >= 2, got 1"):
        Linear(0.0, 1.0, 1)
