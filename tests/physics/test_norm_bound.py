"""The bound of the norm that steps are relative to: never below it, near it, and soon found."""

import pytest
import torch

from tests.physics.instances import NAMES, physics_of
from unfold.errors import ConfigError, ShapeError
from unfold.physics.algebra import Composed
from unfold.physics.blur.convolution import ValidConvolution
from unfold.physics.blur.padding import Padding
from unfold.physics.custom.matrix import Dense
from unfold.physics.inpainting import Mask
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.solvers.linear_map import positive_bound

DRAWS = Draws(seed=3, images=range(2), dtype=torch.float64)


def ones(operator):
    return torch.ones_like(operator.start_image)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_near_the_norm_of_every_shipped_physics(name):
    try:
        operator = physics_of(name).sample(
            DRAWS, (1, 48, 48) if name == "every_operator" else (1, 32, 32)
        )
    except (ConfigError, ShapeError):
        operator = physics_of(name).sample(DRAWS, (3, 48, 48))
    # The margin that norm_squared itself has: 4e-5, and more where values cluster at the top.
    assert (operator.norm_bound >= operator.norm_squared * (1 - 2e-4)).all()
    assert (operator.norm_bound <= operator.norm_squared * 1.2).all()


def test_it_takes_a_few_products(monkeypatch):
    pad = Padding((1, 20, 20), 3, 3, "reflect")
    kernel = torch.rand(1, 1, 7, 7, dtype=torch.float64)
    operator = Composed(ValidConvolution(kernel, pad.measurement_shape), pad)
    calls = []
    forward = ValidConvolution.forward
    monkeypatch.setattr(ValidConvolution, "forward", lambda A, x: calls.append(1) or forward(A, x))
    _ = operator.norm_bound
    assert len(calls) == 5


@pytest.mark.parametrize("steps", [0, 1, 4, 50])
def test_it_is_a_bound_after_any_number_of_steps(steps):
    torch.manual_seed(steps)
    matrix = torch.rand(1, 12, 20, dtype=torch.float64) * (torch.rand(1, 12, 20) < 0.2)
    operator = Dense(matrix, (1, 4, 5))
    truth = torch.linalg.matrix_norm(matrix[0], 2) ** 2
    assert positive_bound(operator, ones(operator), steps) >= truth


def test_it_comes_near():
    matrix = torch.rand(1, 12, 20, dtype=torch.float64)
    operator = Dense(matrix, (1, 4, 5))
    truth = torch.linalg.matrix_norm(matrix[0], 2) ** 2
    assert positive_bound(operator, ones(operator), 30) <= truth * (1 + 1e-4)


def test_negative_entries_are_not_left_out():
    """Alone, the mean of the kernel is 0, and a bound by its entries' sum would be 0 as well."""
    kernel = torch.tensor([[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]], dtype=torch.float64)[None, None]
    mask = Mask((torch.rand(1, 1, 6, 6, dtype=torch.float64) < 0.9).double())
    pad = Padding((1, 6, 6), 1, 1, "reflect")
    operator = Composed(mask, Composed(ValidConvolution(kernel, pad.measurement_shape), pad))
    assert (operator.norm_bound >= operator.norm_squared * (1 - 1e-9)).all()


def test_where_nothing_is_known_it_is_the_norm():
    class Plain(Dense):
        pass

    operator = Plain(torch.randn(1, 5, 6, dtype=torch.float64), (1, 2, 3))
    assert operator.abs_operator is None
    assert torch.equal(operator.norm_bound, Operator.norm_squared.func(operator))


def test_samples_are_independent():
    """Also beside a mate that is a thousand times brighter."""
    torch.manual_seed(0)
    matrix = torch.rand(2, 12, 20, dtype=torch.float64)
    matrix[1] *= 1e3
    operator = Dense(matrix, (1, 4, 5))
    whole = positive_bound(operator, ones(operator))
    for i in range(2):
        single = Dense(matrix[[i]], (1, 4, 5))
        alone = positive_bound(single, ones(single))
        assert torch.allclose(whole[i], alone, rtol=1e-12)
