"""The rows of an operator that splitting keeps: their kind, and what steps are relative to."""

import pytest
import torch

from unfold.physics.base import Physics
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.saturation import SaturatedBlur
from unfold.physics.ct.tomography import Tomography
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import NoNoise
from unfold.random import Draws
from unfold.solvers import linear_map
from unfold.training.losses import MaskedMeasurement

PHYSICS = {
    "denoising": Denoising(NoNoise()),
    "tomography": Tomography(NoNoise(), 9),
    "blur": Blur(NoNoise(), GaussianKernel(3, (0.5, 1.0))),
    "saturated": SaturatedBlur(NoNoise(), GaussianKernel(3, (0.5, 1.0))),
}


def rows(physics: Physics) -> MaskedMeasurement:
    draws = Draws(0, range(3), dtype=torch.float64)
    operator = physics.sample(draws, (1, 8, 8))
    kept = draws.uniform("kept", operator.measurement_shape) < 0.7
    return MaskedMeasurement(operator, kept.to(torch.float64))


@pytest.mark.parametrize("name", PHYSICS)
def test_device_and_dtype_are_those_of_the_mask(name: str):
    made = rows(PHYSICS[name])
    assert made.anchor is made.kept
    assert made.norm_squared.dtype == torch.float64 and made.norm_squared.shape == (3,)


@pytest.mark.parametrize("name", PHYSICS)
def test_the_norm_bound_is_that_of_the_inner_operator(name: str, monkeypatch):
    made = rows(PHYSICS[name])
    inner, own = made.operator.norm_bound, made.norm_squared

    def refuse(*_):
        raise AssertionError("the norm is iterated for")

    monkeypatch.setattr(linear_map, "_bound", refuse)
    assert torch.equal(made.norm_bound, inner.expand(3))
    assert bool((made.norm_bound >= own * (1 - 1e-4)).all())
