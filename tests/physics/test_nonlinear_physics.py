"""Nonlinear operators, by themselves and inside other physics."""

import pytest
import torch

from tests import operator_properties as properties
from tests.physics.nonlinear_instances import DRAWS, REAL, SHAPE, X, squares, squares_vjp
from unfold.cli.dry_run import dry_run
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, ShapeError
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.saturation import SaturatedBlur
from unfold.physics.chain import Chain, Stack
from unfold.physics.custom.functions import NonlinearFunctionPhysics
from unfold.physics.denoising import Denoising
from unfold.physics.mixture import Mixture, PerFamilyNoise
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.random import Draws


def test_a_function_of_the_user_is_measured_through():
    physics = NonlinearFunctionPhysics(Gaussian(0.0), squares, squares_vjp)
    y, operator = physics.measure(X, DRAWS)
    assert physics.is_deterministic and torch.equal(y, squares(X)) and not operator.linear
    assert torch.equal(operator.vjp(X, y), squares_vjp(X, y))
    same = NonlinearFunctionPhysics(NoNoise(), torch.square)
    assert same.operator_for(torch.square(X)).image_shape == SHAPE


def test_a_wrong_user_vjp_warns_once():
    wrong = NonlinearFunctionPhysics(NoNoise(), squares, lambda x, u: 2 * squares_vjp(x, u))
    said = "squares: its vjp is not that of the derivative of its A, but 100% apart: gradients of f"
    with pytest.warns(UserWarning, match=said):
        wrong.sample(DRAWS, SHAPE)
    wrong.sample(DRAWS, SHAPE)


def test_physics_combine_nonlinear_ones():
    blurred = SaturatedBlur(NoNoise(), GaussianKernel(3, (0.5, 1.0)), 1.4, 8.0)
    square = NonlinearFunctionPhysics(NoNoise(), torch.square)
    chain = Chain(NoNoise(), {"blur": blurred, "square": square})
    y, operator = chain.measure(X, DRAWS)
    first = blurred.sample(DRAWS.within("operator").within("blur"), SHAPE)
    assert not operator.linear and properties.gap(y, first.A(X) ** 2) < 1e-14
    properties.assert_nonlinear(operator)
    both = Stack(NoNoise(), {"blur": blurred, "none": Denoising(NoNoise())})
    y, operator = both.measure(X, DRAWS)
    assert properties.gap(y[:, 20:], X.flatten(1)) == 0 and not operator.linear
    properties.assert_nonlinear(operator)
    mixed = Mixture(PerFamilyNoise(), {"blur": blurred, "none": Denoising(NoNoise())})
    many = Draws(0, range(6), dtype=REAL)
    x = many.uniform("x", SHAPE)
    y, operator = mixed.measure(x, many)
    assert not operator.linear and 0 < sum(operator.family) < 6
    properties.assert_nonlinear(operator)
    assert properties.gap(operator.vjp(x, y), operator.linearize(x).adjoint(y)) < 1e-14


class Blind(torch.autograd.Function):
    """Without a derivative that transforms can take."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, u):
        return u


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["physics=saturated_blur"], "Saturated, from images of"),
        (
            ["physics=mixture", "+physics@physics.families.sensor=saturated_blur"],
            "Saturated of physics.families.sensor, from",
        ),
        (
            ["+physics@evaluation.operators.sensor=saturated_blur"],
            "Saturated of evaluation.operators.sensor, from",
        ),
    ],
)
def test_an_algorithm_that_needs_more_is_refused_before_training(words: list[str], said: str):
    (checked,) = verify(compose([*words, "algo=hqs"]))
    with pytest.raises(ConfigError, match=rf"HQS needs a linear operator, and {said}"):
        dry_run(build(checked), 0)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: SaturatedBlur(NoNoise(), GaussianKernel(3, 1.0), gain=0.0),
            ConfigError,
            r"SaturatedBlur.gain = 0.0: must be positive",
        ),
        (
            lambda: SaturatedBlur(NoNoise(), GaussianKernel(3, 1.0), sharpness=float("inf")),
            ConfigError,
            r"SaturatedBlur.sharpness = inf: must be positive",
        ),
        (
            lambda: NonlinearFunctionPhysics(NoNoise(), squares, grey=1.5),
            ConfigError,
            r"NonlinearFunctionPhysics.grey = 1.5: must be in \[0, 1\]",
        ),
        (
            lambda: NonlinearFunctionPhysics(NoNoise(), torch.linalg.cross).sample(DRAWS, SHAPE),
            ShapeError,
            r"cross does not act on images of \(1, 4, 5\)",
        ),
        (
            lambda: NonlinearFunctionPhysics(NoNoise(), squares).image_shape((1, 8, 8)),
            ConfigError,
            r"squares: the shape \(1, 8, 8\) of y does not tell that of the image",
        ),
        (
            lambda: NonlinearFunctionPhysics(NoNoise(), Blind.apply).sample(DRAWS, SHAPE),
            ConfigError,
            "its derivative cannot be taken",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
