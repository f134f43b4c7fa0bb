"""Maps that the user has written."""

import math

import pytest
import torch

from unfold.errors import ConfigError, ShapeError
from unfold.physics.algebra import Stacked
from unfold.physics.custom.functions import FunctionPhysics, NonlinearFunctionPhysics
from unfold.physics.denoising import Identity
from unfold.physics.noise.base import NoNoise
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


def test_the_norm_of_a_module_is_found_in_its_own_precision():
    """A convolution by (1, 2) along rows that end in 0: ‖A‖² = 5 + 4 cos(π/7) for 6 pixels."""
    module = torch.nn.Conv2d(1, 1, (1, 2), padding=(0, 1), bias=False).double()
    module.weight.data = torch.tensor([[[[1.0, 2.0]]]], dtype=torch.float64)
    module.requires_grad_(False)
    want = torch.tensor([5 + 4 * math.cos(math.pi / 7)], dtype=torch.float64)
    x = draws(2).uniform("x", (1, 1, 6))
    for law_ in (
        FunctionPhysics(NoNoise(), module),
        NonlinearFunctionPhysics(NoNoise(), lambda x: module(x) + 0.5),
    ):
        operator = law_.measure(x, draws(2)).operator
        whole = Stacked((operator, Identity((1, 1, 6))))
        assert operator.norm_squared.dtype == operator.anchor.dtype == torch.float64
        assert float((operator.norm_squared / want - 1).abs()) < 1e-4
        assert float((whole.norm_squared / (want + 1) - 1).abs()) < 1e-4


def fourier(x):
    return torch.fft.fft2(x + 0j, norm="ortho")


def test_an_adjoint_without_its_conjugate_warns():
    """The real part of Fu in the place of that of F*u: only a complex u tells them apart."""
    right = FunctionPhysics(NoNoise(), fourier, lambda y: torch.fft.ifft2(y, norm="ortho").real)
    right.sample(draws(2), (1, 6, 5))
    wrong = FunctionPhysics(NoNoise(), fourier, lambda y: torch.fft.fft2(y, norm="ortho").real)
    with pytest.warns(UserWarning, match=r"fourier: its adjoint is not that of its A, but \d+% ap"):
        wrong.sample(draws(2), (1, 6, 5))


def test_a_derivative_that_is_zero_is_no_wrong_one():
    def high(x):
        return (x - 0.9).clamp(min=0)

    flat = NonlinearFunctionPhysics(NoNoise(), high).sample(draws(2), (1, 4, 4))
    with pytest.raises(ConfigError, match=r"its derivative at the reference image.* is 0"):
        _ = flat.norm_squared
    wrong = NonlinearFunctionPhysics(NoNoise(), high, lambda x, u: u)
    with pytest.warns(UserWarning, match=r"high: its vjp is not that of .* but 100% apart"):
        wrong.sample(draws(2), (1, 4, 4))
