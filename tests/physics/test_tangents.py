"""What is made of maps that are not linear is linearized by each at its own reference."""

import math

import pytest
import torch

from tests import operator_properties as properties
from tests.physics.nonlinear_instances import DRAWS, SCALES, SHAPE, Intensity, X
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.initialization import BackProjection
from unfold.physics.algebra import Composed, Stacked
from unfold.physics.batch import Grouped, Packed
from unfold.physics.blur.saturation import Saturated
from unfold.physics.custom.functions import NonlinearFunction
from unfold.physics.denoising import Identity
from unfold.physics.operator import Operator
from unfold.physics.wrapped import RealImages, Scaled
from unfold.training.losses import MaskedMeasurement

SENSOR = Saturated(Identity(SHAPE), 2.5, 4.0)
"""At half a grey it is past its knee; the slope of a dark image is 2.5/(1 + exp(-4))."""

SLOPE = 2.5 / (1 + math.exp(-4.0))
DARK = -math.log1p(math.exp(-4.0)) / 4

STACK = Stacked((SENSOR, Identity(SHAPE)))
GROUP = Grouped((SENSOR, Identity(SHAPE)), (0, 1, 0))


@pytest.mark.parametrize(
    "chain",
    [
        Composed(Identity(SHAPE), SENSOR),
        Composed(SENSOR, Identity(SHAPE)),
        Composed(Identity(SHAPE), Composed(SENSOR, Identity(SHAPE))),
    ],
)
def test_a_chain_stands_at_the_dark_image_of_its_sensor(chain: Operator):
    y = chain.A(X)
    assert properties.gap(chain.norm_squared, torch.tensor([SLOPE**2])) < 1e-4
    assert properties.gap(chain.linearized_data(y), y - DARK) < 1e-14
    assert properties.gap(chain.back_project(y), SLOPE * (y - DARK)) < 1e-14


def test_each_of_two_curved_maps_stands_at_its_own_reference():
    """v² at ½ is near v − ¼, and at the dark image of the sensor it would have no slope."""
    square = NonlinearFunction(torch.square, SHAPE, SHAPE)
    chain = Composed(square, SENSOR)
    y = chain.A(X)
    assert torch.equal(chain.reference(y), torch.zeros(1, *SHAPE, dtype=y.dtype))
    assert properties.gap(chain.linearized_data(y), y + 0.25 - DARK) < 1e-14
    assert properties.gap(chain.back_project(y), SLOPE * (y + 0.25 - DARK)) < 1e-14


class Bright(Intensity):
    """It is linearized at 1 + ½i."""

    def reference(self, like):
        return super().reference(like) * (2 + 1j)


def test_real_images_stand_at_the_real_part_of_the_reference():
    """|Fx|² of x̄ = 1 has J(x̄)x̄ = 2|Fx̄|²: 40 in the first frequency of 20 pixels."""
    real = RealImages(Bright())
    y = real.A(X)
    assert torch.equal(real.reference(y), torch.ones(1, *SHAPE, dtype=y.dtype))
    of_ones = real.tangent(y).A(torch.ones_like(X))
    assert abs(float(of_ones[0, 0, 0, 0]) - 40) < 1e-12 and float(of_ones[0].sum()) < 40.1


def test_a_group_has_the_reference_of_each_sample():
    dark, grey = torch.zeros(SHAPE, dtype=X.dtype), torch.full(SHAPE, 0.5, dtype=X.dtype)
    assert torch.equal(GROUP.reference(X), torch.stack((dark, grey, dark)))
    assert torch.equal(Grouped((SENSOR,), (0,)).reference(X), dark[None])


def all_rows(A: Operator) -> MaskedMeasurement:
    return MaskedMeasurement(A, torch.ones(3, *A.measurement_shape, dtype=X.dtype))


@pytest.mark.parametrize("inner", [STACK, GROUP, Stacked((SENSOR, GROUP))])
@pytest.mark.parametrize(
    "wrap",
    [
        all_rows,
        lambda A: Scaled(A, torch.ones(3, dtype=X.dtype)),
        lambda A: Packed(A, 70, False),
        lambda A: Packed(A, 65, True),
        lambda A: Packed(all_rows(A), 41, False),
    ],
    ids=("rows", "scaled", "packed", "packed among complex", "all"),
)
def test_a_wrapped_map_back_projects_as_the_map_does(inner: Operator, wrap):
    outer = wrap(inner)
    found = outer.back_project(outer.A(X))
    assert properties.gap(found, inner.back_project(inner.A(X))) < 1e-14


def test_masked_stacks_linearize_the_kept_data():
    kept = (DRAWS.uniform("kept", (40,)) < 0.5).to(X.dtype)
    rows = MaskedMeasurement(STACK, kept)
    y = rows.A(X)
    dark = torch.tensor([DARK] * 20 + [0.0] * 20, dtype=y.dtype)
    assert properties.gap(rows.linearized_data(y), kept * (STACK.A(X) - dark)) < 1e-14


@pytest.mark.parametrize("gain", [1.5, 2.5, 4.0])
def test_back_projection_starts_where_a_sensor_has_slope(gain: float):
    """g · R'(0) of R(gx) over its square: the start is the image where nothing saturates."""
    sensor = Saturated(Identity(SHAPE), gain, 20.0)
    x = 0.5 / gain * X
    start = BackProjection().image(data_term(L2(), sensor, sensor.A(x)))
    assert properties.gap(start, x) < 1e-4
    bright = BackProjection().image(data_term(L2(), sensor, sensor.A(X)))
    assert float(sensor.slope(bright).min()) > 0.4


def test_the_start_of_linear_samples_is_back_projection_whatever_their_mates():
    curved = NonlinearFunction(lambda x: 3 * x + 0.7, SHAPE, SHAPE)
    group = Grouped((curved, Scaled(Identity(SHAPE), SCALES[:1])), (0, 1, 0))
    for operator in (group, all_rows(group), Composed(Identity(SHAPE), group)):
        assert operator.linear_samples == (False, True, False)
        start = BackProjection().image(data_term(L2(), operator, operator.A(X)))
        assert (
            properties.gap(start[::2], X[::2]) < 1e-4 and properties.gap(start[1], X[1] / 4) < 1e-14
        )
    assert Stacked((group, Identity(SHAPE))).linear_samples == (False, True, False)
    assert Stacked((curved, Identity(SHAPE))).linear_samples == (False,)
    assert RealImages(Intensity()).linear_samples == (False,)
    linear = Scaled(Identity(SHAPE), SCALES)
    assert linear.linear_samples == (True,)
    start = BackProjection().image(data_term(L2(), linear, X))
    assert torch.equal(start, linear.A_adjoint(X))
