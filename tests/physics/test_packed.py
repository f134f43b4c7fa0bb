"""Families of different measurements in one batch: rows of numbers that say what each measured."""

import dataclasses
import math
import re

import pytest
import torch
from torch import Tensor

from tests import operator_properties as properties
from tests.operator_properties import dense, gap
from tests.physics.instances import kernel, mask, physics_of
from unfold.algorithms.preconditioned_pdhg import PreconditionedPDHG
from unfold.algorithms.richardson_lucy import RichardsonLucy
from unfold.algorithms.sirt import SIRT
from unfold.cli.dry_run import dry_run
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, ShapeError
from unfold.fidelities.fidelity import Fidelity, data_term
from unfold.fidelities.l2 import L2
from unfold.fidelities.l2_ball import Discrepancy, L2Ball
from unfold.fidelities.poisson import PoissonFidelity as KullbackLeibler
from unfold.fidelities.robust import Huber, L1Fidelity
from unfold.physics.batch import Grouped, Packed
from unfold.physics.blur.blur import Blur, ValidBlur
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import Downsampling, SuperResolution
from unfold.physics.ct.tomography import Tomography
from unfold.physics.denoising import Denoising, Identity
from unfold.physics.mixture import Mixture, PerFamilyNoise
from unfold.physics.mri.cartesian import MRI, Fourier, RealFourier
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.signal_dependent import Poisson
from unfold.physics.operator import Operator
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import make_problem
from unfold.random import Draws

SHAPE = (1, 8, 6)
BLUR = CircularConvolution(kernel(2, 1, 3, 3), SHAPE)
COARSE = Downsampling(kernel(1, 1, 3, 3), SHAPE, 2)
KEPT = RealFourier(mask(3, 1, 8, 6), SHAPE)
COMPLEX = Fourier(mask(3, 1, 8, 6), SHAPE)
OPERATORS: dict[str, Operator] = {
    "real": Packed(BLUR, 50, among_complex=False),
    "no room": Packed(COARSE, 12, among_complex=False),
    "real among complex": Packed(BLUR, 50, among_complex=True),
    "complex": Packed(KEPT, 60, among_complex=True),
    "grouped": Grouped(
        (Packed(BLUR, 48, True), Packed(KEPT, 48, True), Packed(COARSE, 48, True)),
        (1, 0, 2, 1, 0, 1),
    ),
}
WHOLE = {"complex images": Packed(COMPLEX, 60, among_complex=True)}
CASES = [(name, torch.float64) for name in OPERATORS]
CASES += [(name, torch.complex128) for name in ("real", "no room", "complex images")]

QUIET, NOISY = NoNoise(), Gaussian(0.1)
WIDTH = GaussianKernel(3, (0.5, 1.5))
FAMILIES = {
    "blur": Blur(NOISY, WIDTH),
    "coarse": SuperResolution(Gaussian(0.3), WIDTH, 2),
    "rays": Tomography(Gaussian((0.1, 0.2)), 5),
    "fourier": MRI(NOISY, RandomColumns(), real_images=True),
}
COUNTED = {name: FAMILIES[name].with_noise(Poisson(50.0)) for name in ("blur", "rays")}
MIXED, REAL = Mixture(PerFamilyNoise(), FAMILIES), Mixture(PerFamilyNoise(), COUNTED)
DRAWS = Draws(seed=3, images=range(12), dtype=torch.float64)
X = DRAWS.uniform("images", (1, 8, 8))
ONE = torch.ones((), dtype=torch.float64)


def places(mixture: Mixture, draws: Draws = DRAWS) -> dict[str, list[int]]:
    return mixture._groups(draws.within("operator"))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_packed_operator_has_every_property(name: str, dtype: torch.dtype):
    operator = {**OPERATORS, **WHOLE}[name]
    properties.assert_matrix_properties(operator, dtype=dtype)
    for law_of in (properties.assert_solves, properties.assert_solve_gradients):
        law_of(operator, gamma=1.7, dtype=dtype)
    for law_of in (
        properties.assert_pseudo_inverse,
        properties.assert_batch_invariant,
        properties.assert_copies,
    ):
        law_of(operator, dtype=dtype)


@pytest.mark.parametrize("name", ["real", "real among complex", "complex"])
def test_it_is_the_matrix_and_rows_of_zeros(name: str):
    operator = OPERATORS[name]
    own, found = dense(operator.operator), dense(operator)
    parts = found if name == "real" else found.unflatten(1, (-1, 2))
    # The parts of a complex number follow one another in the columns of `dense`.
    wanted = own if name == "real" else torch.stack([own, 0 * own], 2)
    wanted = own.unflatten(1, (-1, 2)) if name == "complex" else wanted
    assert gap(parts[:, : wanted.shape[1]], wanted) < 1e-14
    assert not parts[:, wanted.shape[1] :].any()
    assert operator.entries == operator.operator.entries


@pytest.mark.parametrize("length, among_complex", [(47, False), (47, True), (48, False)])
def test_a_row_holds_what_was_measured(length: int, among_complex: bool):
    kind = "complex" if among_complex else "real"
    words = f"48 complex numbers of RealFourier do not fit into {length} {kind} ones"
    with pytest.raises(ShapeError, match=words):
        Packed(KEPT, length, among_complex)


@pytest.mark.parametrize("mixture", [MIXED, REAL], ids=["with complex", "real"])
def test_each_image_has_the_bits_that_its_family_measures(mixture: Mixture):
    y, operator = mixture.measure(X, DRAWS)
    longest = max(
        math.prod(one.sample(DRAWS, (1, 8, 8)).measurement_shape)
        for one in mixture.families.values()
    )
    assert isinstance(operator, Grouped) and operator.measurement_shape == (longest,)
    assert set(places(mixture)) == set(mixture.families)
    for (name, at), packed in zip(places(mixture).items(), operator.operators, strict=True):
        own = DRAWS.take(at)
        alone = mixture.families[name].sample(own.within("operator").within(name), (1, 8, 8))
        noise = mixture.families[name].noise
        wanted = noise.apply(alone.A(X[at]), own.within("noise").within(name))
        assert isinstance(packed, Packed)
        found = packed.post_adjoint(y[at])
        assert found.dtype == wanted.dtype and torch.equal(found, wanted)
        count = wanted[0].numel()
        assert not y[at][:, count:].any()
        again = operator.pseudo_inverse(y)[at]
        assert gap(again, alone.pseudo_inverse(wanted)) < 1e-9
        compared = packed.linear_baseline(y[at])
        assert compared.method == alone.linear_baseline(wanted).method
        assert gap(compared.image, alone.linear_baseline(wanted).image) < 1e-9


def test_a_family_measures_as_among_families_of_its_shape():
    """What the others measure decides on the form of a measurement, and on none of its bits."""
    alike = Mixture(PerFamilyNoise(), {"blur": FAMILIES["blur"], "other": Denoising(NOISY)})
    apart = Mixture(PerFamilyNoise(), {"blur": FAMILIES["blur"], "other": FAMILIES["fourier"]})
    at = places(alike)["blur"]
    assert at == places(apart)["blur"]
    plain, packed = alike.measure(X, DRAWS).y, apart.measure(X, DRAWS).y
    assert plain.shape == X.shape and not plain.is_complex()
    assert torch.equal(packed[at].real.reshape(-1, 1, 8, 8), plain[at])


@pytest.mark.parametrize("some", [[7, 2, 9], [5], [11, 10, 9, 8], [0, 1]])
def test_a_measurement_does_not_depend_on_the_batch(some: list[int]):
    """Not its length either, which is that of the longest family of all."""
    whole = MIXED.measure(X, DRAWS)
    part = MIXED.measure(X[some], DRAWS.take(some))
    assert part.y.shape[1] == whole.y.shape[1] and gap(part.y, whole.y[some]) < 1e-12
    taken = whole.operator.take(torch.tensor(some), 12)
    assert gap(taken.A(X[some]), part.operator.A(X[some])) < 1e-12


def test_the_moments_are_those_of_the_noise_of_each_family():
    y, operator = REAL.measure(X, DRAWS)
    clean = operator.A(X)
    moments = REAL.moments(clean, operator, DRAWS)
    assert moments is not None and torch.equal(moments.mean, clean)
    assert gap(moments.variance, clean.clamp(min=0) / 50) < 1e-12
    assert not torch.equal(y, clean)
    mixed = MIXED.measure(X, DRAWS).operator
    found = MIXED.moments(mixed.A(X), mixed, DRAWS)
    assert found is not None and not found.variance.is_complex()
    for (name, at), count in zip(places(MIXED).items(), (64, 16, 60, 64), strict=True):
        assert (found.variance[at][:, :count] > 0).all() and not found.variance[at][:, count:].any()
        sigma = {"blur": 0.1, "coarse": 0.3, "fourier": 0.1}.get(name)
        assert sigma is None or gap(found.variance[at][:, 0] / sigma**2, ONE) < 1e-12


def test_probes_are_real_where_real_numbers_were_measured():
    """E|b|² = 1 in every direction that a measurement has: what unbiased risks are made of."""
    many = Draws(seed=3, images=range(400), dtype=torch.float64)
    y, operator = MIXED.measure(many.uniform("images", (1, 8, 8)), many)
    b = MIXED.probe(y, operator, many.within("loss"))
    assert b.shape == y.shape and b.dtype == y.dtype
    for (name, at), count in zip(places(MIXED, many).items(), (64, 16, 60, 64), strict=True):
        own = b[at][:, :count]
        assert abs(float(own.abs().square().mean()) - 1) < 5 * (2 / own.numel()) ** 0.5
        assert bool(own.imag.any()) == (name == "fourier") and not b[at][:, count:].any()
    some = MIXED.probe(y[[7, 2]], operator.take(torch.tensor([7, 2]), 400), many.take([7, 2]))
    assert torch.equal(some, MIXED.probe(y, operator, many)[[7, 2]])


FIDELITIES: list[Fidelity] = [
    L2(),
    L1Fidelity(),
    Huber(0.1),
    KullbackLeibler(),
    L2Ball(0.2),
    L2Ball(Discrepancy(0.1)),
]


@pytest.mark.parametrize("fidelity", FIDELITIES, ids=repr)
@pytest.mark.parametrize("mixture", [MIXED, REAL], ids=["with complex", "real"])
def test_a_fidelity_is_that_of_each_family(fidelity: Fidelity, mixture: Mixture):
    """Its value, its gradient and its proxes see no padding, and moduli of complex numbers."""
    y, operator = mixture.measure(X, DRAWS)
    if isinstance(fidelity, KullbackLeibler) and y.is_complex():
        with pytest.raises(ConfigError, match="this measurement is complex"):
            fidelity.value(operator.A(X), y)
        return
    f, x = data_term(fidelity, operator, y), X + 0.05
    u = torch.zeros_like(y) + operator.A(x) / 3
    value, dual = f.value(x), f.prox_conj(u, 0.7)
    for at, packed in zip(places(mixture).values(), operator.operators, strict=True):
        own = data_term(fidelity, packed.operator, packed.post_adjoint(y[at]))
        assert gap(value[at].nan_to_num(), own.value(x[at]).nan_to_num()) < 1e-12
        wanted = own.prox_conj(packed.post_adjoint(u[at]), 0.7)
        assert gap(dual[at], packed.post(wanted)) < 1e-12
        if "grad" in fidelity.provides:
            assert gap(f.grad(x)[at], own.grad(x[at])) < 1e-12
        if "prox" in fidelity.provides:
            assert gap(f.prox(x, 0.4)[at], own.prox(x[at], 0.4)) < 1e-9


def test_a_family_that_is_not_linear_keeps_its_derivative():
    families = {"bright": physics_of("saturated_blur"), "coarse": FAMILIES["coarse"]}
    mixture, x = (
        Mixture(PerFamilyNoise(), families),
        Draws(1, range(6)).like(X).uniform("x", (1, 16, 16)),
    )
    y, operator = mixture.measure(x, Draws(1, range(6)))
    assert isinstance(operator.operators[0], Packed) and not operator.linear
    f = data_term(Huber(0.1), operator, y)
    groups = places(mixture, Draws(1, range(6))).values()
    for at, packed in zip(groups, operator.operators, strict=True):
        own = data_term(Huber(0.1), packed.operator, packed.post_adjoint(y[at]))
        assert gap(f.grad(x)[at], own.grad(x[at])) < 1e-12
        assert gap(f.At_y[at], own.At_y) < 1e-12


def test_the_discrepancy_counts_what_was_measured():
    """A row of zeros has no noise: the ball of a short measurement is the smaller one."""
    y, operator = MIXED.measure(X, DRAWS)
    ball = data_term(L2Ball(Discrepancy(0.1)), operator, y).fidelity
    assert isinstance(ball, L2Ball) and isinstance(ball.radius, Tensor)
    counts = {"blur": 64, "coarse": 16, "rays": 60, "fourier": 64}
    for name, at in places(MIXED).items():
        assert gap(ball.radius[at] / (0.1 * counts[name] ** 0.5), ONE) < 1e-14


@pytest.mark.parametrize("algorithm", [SIRT(), RichardsonLucy(), PreconditionedPDHG()], ids=repr)
def test_sums_of_rows_and_columns_leave_out_the_padding(algorithm):
    y, operator = REAL.measure(X, DRAWS)
    fidelity = KullbackLeibler() if isinstance(algorithm, RichardsonLucy) else L2()

    def iterated(operator: Operator, y: Tensor) -> Tensor:
        problem = make_problem(fidelity, operator, y, Tikhonov())
        own = dataclasses.replace(algorithm)
        state = own.init(problem)
        for _ in range(5):
            state = own.step(state, problem)
        return own.image(state)

    found = iterated(operator, y)
    assert bool(found.isfinite().all())
    for at, packed in zip(places(REAL).values(), operator.operators, strict=True):
        assert gap(found[at], iterated(packed.operator, packed.post_adjoint(y[at]))) < 1e-12


def test_its_iterative_solves_can_stop_early():
    rays = FAMILIES["rays"].sample(DRAWS, (1, 8, 8))
    for operator, closed in ((rays, False), (Identity((1, 8, 8)), True)):
        row = Packed(operator, 64, among_complex=False)
        found, want = (A.solve_normal(X, 30.0, tol=0.1) for A in (row, operator))
        assert torch.equal(found, want)
        assert torch.equal(row.solve_normal(X, 30.0), want) == closed


def test_a_mixture_of_one_shape_packs_nothing():
    mixture = Mixture(PerFamilyNoise(), {"blur": FAMILIES["blur"], "noise": Denoising(NOISY)})
    y, operator = mixture.measure(X, DRAWS)
    assert y.shape == X.shape and mixture.image_shape((1, 8, 8)) == (1, 8, 8)
    assert not any(isinstance(one, Packed) for one in operator.operators)


def test_what_cannot_be_mixed_says_why():
    both = {"a": Denoising(QUIET), "b": MRI(QUIET, RandomColumns())}
    words = "a: (1, 8, 8) real; b: (1, 8, 8) complex. Mix families of the same images"
    with pytest.raises(ShapeError, match=re.escape(words)):
        Mixture(PerFamilyNoise(), both).sample(DRAWS, (1, 8, 8))
    with pytest.raises(ConfigError, match="a row of 64 numbers does not tell the shape of the"):
        MIXED.image_shape((64,))
    with pytest.raises(ShapeError, match=r"Grouped\.A expects real images, got torch.complex128"):
        MIXED.sample(DRAWS, (1, 8, 8)).A(X + 0j)


def test_families_of_any_shape_are_added_on_the_command_line():
    added = ("super_resolution", "tomography", "mri")
    words = ["physics=mixture", *(f"+physics@physics.families.{name}={name}" for name in added)]
    words += ["physics.families.mri.real_images=true"]
    (checked,) = verify(compose(words))
    parts = build(checked)
    dry_run(parts, 0)
    net, draws = parts.reconstructor, Draws(0, range(8))
    x = draws.uniform("images", (1, 24, 24))
    y, operator = parts.physics.measure(x, draws)
    assert y.ndim == 2 and y.is_complex() and {*added} & {*places(parts.physics, draws)}
    (net(y, operator) - x).square().mean().backward()
    learned = [p for p in net.parameters() if p.requires_grad]
    assert learned and all(p.grad is not None and p.grad.isfinite().all() for p in learned)


def test_the_file_mixes_blur_coarse_pixels_fourier_and_rays():
    mixture = physics_of("mixed_shapes")
    assert set(mixture.families) == {"motion_blur", "super_resolution", "mri", "tomography"}
    other = Mixture(PerFamilyNoise(), {"a": ValidBlur(QUIET, WIDTH), "b": Denoising(QUIET)})
    assert other.measure(X, DRAWS).y.shape == (12, 64)
