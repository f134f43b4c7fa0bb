"""Sets of parameters: the bijection, its ends, and its errors."""

import pytest
import torch

from unfold.errors import ConfigError
from unfold.parameters.constraints import Constraint, Interval, nonnegative, positive, real

SETS: dict[str, tuple[Constraint, list[float]]] = {
    "positive": (positive, [1e-6, 0.3, 7.0, 1e6]),
    "nonnegative": (nonnegative, [1e-6, 0.3, 7.0]),
    "interval": (Interval(0.1, 0.3), [0.11, 0.2, 0.29]),
    "real": (real, [-5.0, 0.0, 2.0]),
}
every_set = pytest.mark.parametrize("constraint, values", SETS.values(), ids=SETS)


@every_set
def test_raw_and_back_is_the_identity(constraint: Constraint, values: list[float]):
    value = torch.tensor(values, dtype=torch.float64)
    back = constraint.from_raw(constraint.to_raw(value))
    torch.testing.assert_close(back, value, rtol=1e-12, atol=1e-12)


@every_set
def test_the_gradient_in_raw_is_that_of_the_bijection(constraint: Constraint, values: list[float]):
    raw = constraint.to_raw(torch.tensor(values, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(constraint.from_raw, raw)


@every_set
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_raw_number_of_moderate_size_is_inside(
    constraint: Constraint, values: list[float], dtype: torch.dtype
):
    raw = torch.linspace(-80, 80, 401, dtype=dtype)
    assert constraint.holds(constraint.from_raw(raw))


def test_a_learned_value_on_the_boundary_starts_where_the_gradient_lives():
    interval = Interval(0.0, 2.0)
    for end in (0.0, 2.0):
        raw = interval.to_raw(torch.tensor(end)).requires_grad_()
        value = interval.from_raw(raw)
        assert abs(value.item() - end) < 3e-4
        value.backward()
        assert raw.grad is not None and raw.grad.abs() > 1e-5
    assert nonnegative.from_raw(nonnegative.to_raw(torch.tensor(0.0))) > 0


def test_what_is_outside_does_not_hold():
    for value in (0.0, -1.0, float("nan"), float("inf")):
        assert not positive.holds(torch.tensor(value))
    assert nonnegative.holds(torch.tensor(0.0)) and not nonnegative.holds(torch.tensor(-1e-9))
    for value in (0.0999, 0.3001, float("nan")):
        assert not Interval(0.1, 0.3).holds(torch.tensor(value))
    assert not real.holds(torch.tensor(float("nan")))


def test_an_interval_without_width_is_refused():
    for low, high in ((1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ConfigError, match=r"finite low < high, got \["):
            Interval(low, high)


def test_a_set_says_which_intervals_it_spans():
    assert positive.spans(0.0, 2.0) and not positive.spans(-0.1, 2.0)
    assert nonnegative.spans(0.0, 2.0) and not nonnegative.spans(-0.1, 2.0)
    assert Interval(0.0, 2.0).spans(0.5, 2.0) and not Interval(0.0, 2.0).spans(0.5, 2.1)
    assert real.spans(-1e9, 1e9)
    assert [str(s) for s in (positive, nonnegative, Interval(0.0, 2.0), real)] == [
        "positive",
        "zero or positive",
        "in [0, 2]",
        "finite",
    ]
