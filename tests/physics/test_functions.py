"""Linear maps that the user has written."""

import pytest
import torch

from unfold.errors import ConfigError, ShapeError
from unfold.physics.functions import FunctionPhysics
from unfold.physics.noise import NoNoise
from unfold.random import Draws
from unfold.testing import check_physics


def draws(count):
    return Draws(seed=0, images=range(count), dtype=torch.float64)


def halves(x):
    return x[..., ::2, :].cumsum(-1)


def test_a_function_of_the_user_is_an_operator():
    law_ = FunctionPhysics(NoNoise(), halves)
    operator = law_.sample(draws(2), (2, 6, 5))
    assert operator.measurement_shape == (2, 3, 5)
    check_physics(law_, ((2, 6, 5), (1, 8, 8))).raise_if_failed()
    wrong = FunctionPhysics(NoNoise(), halves, lambda y: torch.zeros(len(y), 2, 6, 5).to(y))
    said = "its adjoint is not that of its A, but 100% apart: gradients of f are wrong"
    with pytest.warns(UserWarning, match=said):
        assert any(one.id == "PH1" for one in check_physics(wrong, ((2, 6, 5),)).failed)
    wrong.sample(draws(2), (2, 6, 5))  # told once


def test_functions_that_cannot_be_operators_are_refused():
    with pytest.raises(ShapeError, match=r"cross does not act on images of \(1, 4, 4\)"):
        FunctionPhysics(NoNoise(), torch.linalg.cross).sample(draws(1), (1, 4, 4))
    with pytest.raises(ConfigError, match=r"a measurement for each image is expected.* got \(1,\)"):
        FunctionPhysics(NoNoise(), lambda x: x.sum()[None]).sample(draws(1), (1, 4, 4))
    with pytest.raises(ConfigError, match="does not tell that of the image"):
        FunctionPhysics(NoNoise(), halves).image_shape((1, 4, 4))
