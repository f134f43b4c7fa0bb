"""Operators that are not linear: their derivatives, what is made of them, and what they refuse."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import operator_properties as properties
from tests.engine import blur
from tests.physics.nonlinear_instances import (
    DRAWS,
    FOURIER,
    OPERATORS,
    REAL,
    SCALES,
    SENSOR,
    SHAPE,
    SMALL,
    SQUARES,
    V,
    X,
    squares,
)
from unfold.errors import ConfigError, ShapeError
from unfold.fidelities.amplitude import Amplitude
from unfold.fidelities.fidelity import Fidelity, data_term
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.fidelities.robust import Huber
from unfold.initialization import Regularised
from unfold.physics.algebra import Composed, Stacked
from unfold.physics.batch import Grouped, Packed
from unfold.physics.blur.saturation import Saturated
from unfold.physics.custom.functions import NonlinearFunction
from unfold.physics.denoising import Identity
from unfold.physics.mri.cartesian import Fourier
from unfold.physics.operator import Operator
from unfold.physics.wrapped import Scaled

every_operator = pytest.mark.parametrize("name", OPERATORS)


@every_operator
def test_every_property(name: str):
    operator, dtype = OPERATORS[name]
    properties.assert_nonlinear(operator, dtype=dtype)


@every_operator
def test_the_derivative_is_the_dense_one(name: str):
    """J entry by entry from PyTorch's own Jacobian, over the two parts of complex numbers."""
    operator, dtype = OPERATORS[name]
    operator = operator.take(torch.tensor([1]), operator.batch) if operator.batch > 1 else operator
    x = DRAWS.uniform("at", operator.image_shape)[:1]
    x = x + 0.3j if dtype.is_complex else x

    def parts(t: Tensor) -> Tensor:
        return (torch.view_as_real(t) if t.is_complex() else t).flatten()

    def of_parts(p: Tensor) -> Tensor:
        image = torch.view_as_complex(p.reshape(*x.shape, 2)) if dtype.is_complex else p
        return parts(operator.A(image.reshape(x.shape)))

    J = torch.autograd.functional.jacobian(of_parts, parts(x))
    v, u = (
        properties.probe(operator, 1, dtype=dtype)[:1],
        properties.probe(operator, 2, dtype=dtype, dual=True),
    )
    found = parts(operator.linearize(x).A(v))
    assert properties.gap(found, J @ parts(v)) < 1e-12
    assert properties.gap(parts(operator.vjp(x, u[:1])), J.mT @ parts(u[:1])) < 1e-12


@every_operator
@pytest.mark.parametrize(
    "fidelity", [L2(), Huber(0.1), Amplitude()], ids=lambda d: type(d).__name__
)
def test_the_gradient_of_f_is_that_of_its_value(name: str, fidelity: Fidelity):
    operator, dtype = OPERATORS[name]
    x = DRAWS.uniform("x", operator.image_shape).to(dtype).requires_grad_()
    y = operator.A(DRAWS.uniform("other", operator.image_shape).to(dtype)).detach()
    if isinstance(fidelity, Amplitude):
        y = y.abs()
    f = data_term(fidelity, operator, y)
    (want,) = torch.autograd.grad(f.value(x).sum(), x)
    assert properties.gap(f.grad(x), want) < 1e-10


def test_the_gradient_of_counts_is_that_of_their_value():
    x, y = DRAWS.uniform("x", SHAPE).requires_grad_(), SMALL.A(X)
    f = data_term(PoissonFidelity(0.1), SMALL, y)
    (want,) = torch.autograd.grad(f.value(x).sum(), x)
    assert properties.gap(f.grad(x), want) < 1e-10


def test_a_sensor_saturates_as_the_formula_says():
    v = np.array([-0.3, 0.0, 0.4, 0.9, 1.0, 1.1, 3.0, 40.0]).reshape(1, 1, 1, 8)
    for a in (5.0, 50.0):
        operator = Saturated(Identity((1, 1, 8)), 2.0, a)
        found = operator.A(torch.from_numpy(v) / 2).numpy()
        assert np.abs(found - (v - np.logaddexp(0, a * (v - 1)) / a)).max() < 1e-14
        slope = operator.vjp(torch.from_numpy(v) / 2, torch.ones(1, 1, 1, 8, dtype=REAL)).numpy()
        assert np.abs(slope - 2 / (1 + np.exp(np.minimum(a * (v - 1), 700)))).max() < 1e-14
    assert abs(found[0, 0, 0, 2] - 0.4) < 1e-12 and abs(found[0, 0, 0, -1] - 1) < 1e-12


def test_a_linear_operator_is_its_own_derivative():
    A = blur(5, batch=3)
    x, y = DRAWS.uniform("x", (1, 5, 5)), DRAWS.uniform("y", (1, 5, 5))
    assert A.linear and A.linearize(x) is A and A.tangent(x) is A and A.linearized_data(y) is y
    assert torch.equal(A.vjp(x, y), A.A_adjoint(y))
    assert torch.equal(A.back_project(y), A.A_adjoint(y))
    assert torch.equal(A.least_squares_gradient(x, y, A.A_adjoint(y)), A.normal(x) - A.A_adjoint(y))
    for made in (Composed(A, A), Stacked((A, A)), Grouped((A,), (0, 0, 0)), Scaled(A, SCALES)):
        assert made.linear and made.linearize(x) is made


def test_it_works_inside_transforms_and_in_every_mode():
    for operator in (SQUARES, SMALL, Composed(SQUARES, SMALL)):
        u = DRAWS.normal("u", operator.measurement_shape)

        def f(x: Tensor, operator: Operator = operator, u: Tensor = u) -> Tensor:
            return (operator.vjp(x, u) * V).sum()

        x = X.clone().requires_grad_()
        (want,) = torch.autograd.grad(f(x), x)
        assert properties.gap(torch.func.grad(f)(X), want) < 1e-12
        with torch.no_grad():
            assert properties.gap(torch.func.grad(f)(X), want) < 1e-12
            assert not operator.vjp(x, u).requires_grad
        with torch.inference_mode():
            assert properties.gap(operator.vjp(X.clone(), u.clone()), operator.vjp(X, u)) < 1e-15
            assert operator.linearize(X.clone()).A(V.clone()).shape == u.shape


def test_what_a_transform_computes_is_not_kept():
    """A spectrum from inside torch.func has no memory that outlives it."""
    A = blur(5)
    x = DRAWS.uniform("x", (1, 5, 5))
    value = torch.func.vjp(A.forward, x)[0]
    assert not [key for key in vars(A) if key.startswith("derived")]
    assert torch.equal(A.A(x), value)
    assert properties.gap(A.half_spectrum, blur(5).half_spectrum) == 0
    A.half_spectrum.untyped_storage()


def test_before_an_image_is_known_the_tangent_stands_for_it():
    """x̄ + J⁺(y − A(x̄)) is exact for an affine map, and near for one that is nearly so."""
    affine = NonlinearFunction(lambda x: 3 * x + 0.7, SHAPE, SHAPE)
    y = affine.A(X)
    assert properties.gap(affine.linearized_data(y), 3 * X) < 1e-14
    assert properties.gap(affine.back_project(y), 9 * X) < 1e-14
    assert properties.gap(affine.norm_squared, torch.tensor([9.0])) < 1e-4
    baseline = affine.linear_baseline(y)
    assert (
        baseline.method == "linearized_pseudo_inverse" and properties.gap(baseline.image, X) < 1e-3
    )
    start = Regularised(1e-9).image(data_term(L2(), affine, y))
    assert properties.gap(start, X) < 1e-6
    grey = NonlinearFunction(torch.square, SHAPE, SHAPE, grey=0.25)
    assert properties.gap(grey.norm_squared, torch.tensor([0.25])) < 1e-4


def test_composites_of_affine_maps_linearize_exactly():
    affine = NonlinearFunction(lambda x: 3 * x + 0.7, SHAPE, SHAPE)
    for operator in (
        Stacked((affine, Identity(SHAPE), affine)),
        Stacked((affine, FOURIER)),
        Grouped((affine, Identity(SHAPE)), (0, 1, 0)),
        Scaled(affine, SCALES),
        Packed(affine, 23, True),
        Composed(affine, SMALL.operator),
        Composed(SMALL.operator, affine),
    ):
        y = operator.A(X)
        assert operator.reference(y).shape[1:] == SHAPE
        assert properties.gap(operator.linearized_data(y), operator.tangent(y).A(X)) < 1e-14


def test_a_dark_image_is_the_steepest_of_a_sensor():
    A = SENSOR.operator
    assert properties.gap(SENSOR.norm_squared, 1.4**2 * A.norm_squared) < 1e-2
    for scale in (0.0, 0.2, 1.0):
        x = scale * DRAWS.uniform("x", (1, 5, 5))
        J = properties.dense(SENSOR.linearize(x))
        assert bool((torch.linalg.matrix_norm(J, 2) ** 2 <= SENSOR.norm_squared * 1.0001).all())
    start = Regularised(0.05).image(data_term(L2(), SENSOR, SENSOR.A(x)))
    squared = 1.4**2 * A.norm_squared.reshape(-1, 1, 1, 1)
    b, gamma = 1.4 * A.A_adjoint(SENSOR.A(x)), 1 / (0.05 * squared)
    assert properties.gap(start, gamma * A.solve_normal(b, gamma * 1.4**2)) < 1e-2


@pytest.mark.parametrize("method", ["A_adjoint", "normal", "pseudo_inverse"])
def test_what_needs_a_linear_operator_is_refused(method: str):
    words = (
        rf"NonlinearFunction.{method}: NonlinearFunction, from images of \(1, 4, 5\) to "
        r"measurements of \(2, 4, 5\), is not linear.*PGD, GD or FISTA.*"
        r"Regularised or BackProjection"
    )
    given = X if method == "normal" else squares(X)
    with pytest.raises(ConfigError, match=words):
        getattr(SQUARES, method)(given)


@every_operator
def test_nothing_made_of_it_has_an_adjoint(name: str):
    operator, dtype = OPERATORS[name]
    x, y = (
        properties.probe(operator, 1, dtype=dtype),
        properties.probe(operator, 2, dtype=dtype, dual=True),
    )
    f = data_term(L2(), operator, y)
    for call in (
        lambda: operator.A_adjoint(y),
        lambda: operator.normal(x),
        lambda: operator.solve_normal(x, 1.0),
        lambda: operator.pseudo_inverse(y),
        lambda: f.prox(x, 1.0),
        lambda: f.column_sums,
    ):
        with pytest.raises(ConfigError, match="is not linear"):
            call()


class Careless(Identity):
    """Says that it is not linear and writes no derivative."""

    linear = False


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SENSOR.A(X + 0j), ShapeError, r"Saturated.A expects \(batch, 1, 5, 5\)"),
        (lambda: SMALL.A(X + 0j), ShapeError, "Saturated.A expects real images, got torch.complex"),
        (
            lambda: SMALL.back_project(X[..., :3]),
            ShapeError,
            r"linearized_data expects \(batch, 1, 4, 5",
        ),
        (
            lambda: Composed(SQUARES, FOURIER),
            ShapeError,
            "RealImages makes complex measurements and NonlinearFunction takes real images; where",
        ),
        (
            lambda: Composed(Fourier(torch.ones(1, 1, 4, 5, dtype=REAL), SHAPE), SMALL),
            ShapeError,
            "Saturated makes real measurements and Fourier takes complex images; where one",
        ),
        (lambda: Careless(SHAPE).vjp(X, X), ConfigError, "Careless is not linear, and does not"),
        (
            lambda: NonlinearFunction(lambda x: (x - 0.5) ** 2, SHAPE, SHAPE).norm_squared,
            ConfigError,
            "NonlinearFunction: its derivative at the reference image.* is 0 or not finite",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
