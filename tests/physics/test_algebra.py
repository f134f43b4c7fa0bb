"""Operators made of operators, of matrices, of functions and of families: dense references."""

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.numpy import save_file

from tests import operator_properties as properties
from tests.physics.functions import adjoint_differences, differences
from tests.physics.instances import kernel, mask
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.physics.algebra import Composed, OperatorSum, Stacked
from unfold.physics.batch import Grouped
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.blur.padding import ZeroPadding
from unfold.physics.blur.super_resolution import Downsampling
from unfold.physics.custom.functions import FunctionOperator, NonlinearFunction
from unfold.physics.custom.matrix import Dense, MatrixPhysics
from unfold.physics.denoising import Identity
from unfold.physics.inpainting import Mask
from unfold.physics.mri.cartesian import Fourier, RealFourier
from unfold.physics.noise.base import NoNoise
from unfold.physics.operator import Operator
from unfold.physics.phase.retrieval import CodedDiffraction, PhaseRetrieval
from unfold.physics.wrapped import RealImages, Scaled
from unfold.random import Draws

DRAWS = Draws(seed=2, images=range(3), dtype=torch.float64)
QUIET = NoNoise()
M, BLUR = Mask(mask(3, 2, 4, 6)), CircularConvolution(kernel(3, 2, 3, 3), (2, 4, 6))
COARSE = Downsampling(kernel(1, 1, 3, 3), (2, 4, 6), 2)
TABLE = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 7, 24)))
CODES = torch.polar(0.5 + mask(2, 3, 4, 5), 6 * mask(2, 3, 4, 5))
KEPT = Fourier(mask(3, 1, 4, 6)[:, :1], (2, 4, 6))
REAL, COMPLEX = torch.float64, torch.complex128
GROUPS = (
    Mask(mask(2, 2, 4, 6)),
    Identity((2, 4, 6)),
    CircularConvolution(BLUR.kernel[:1], BLUR.image_shape),
)
OPERATORS: dict[str, tuple[Operator, tuple[torch.dtype, ...]]] = {
    "composed": (Composed(M, BLUR), (REAL, COMPLEX)),
    "composed, shared": (Composed(ZeroPadding((2, 3, 3), 4, 6).H, BLUR), (REAL, COMPLEX)),
    "composed, complex": (Composed(KEPT, M), (COMPLEX,)),
    "stacked": (Stacked((COARSE, M, BLUR)), (REAL, COMPLEX)),
    "stacked, complex": (Stacked((RealFourier(KEPT.mask, KEPT.image_shape),) * 2), (REAL,)),
    "scaled": (Scaled(BLUR, torch.tensor([0.5, -2.0, 3.0]).double()), (REAL, COMPLEX)),
    "scaled, shared": (Scaled(M, torch.tensor([0.7]).double()), (REAL, COMPLEX)),
    "cropped": (ZeroPadding((2, 3, 3), 4, 6).H, (REAL, COMPLEX)),
    "dense": (Dense(TABLE, (2, 3, 4)), (REAL, COMPLEX)),
    "dense, complex": (Dense(TABLE + 1j * TABLE.flip(2), (2, 3, 4)), (COMPLEX,)),
    "functions": (FunctionOperator(differences, (2, 3, 4), (3, 3)), (REAL, COMPLEX)),
    "two functions": (
        FunctionOperator(differences, (2, 3, 4), (3, 3), adjoint_differences),
        (REAL,),
    ),
    "diffraction": (CodedDiffraction(CODES, (1, 4, 5)), (COMPLEX,)),
    "real diffraction": (RealImages(CodedDiffraction(CODES, (1, 4, 5))), (REAL,)),
    "sum": (OperatorSum((M, BLUR)), (REAL, COMPLEX)),
    "sum, complex": (RealFourier(KEPT.mask, KEPT.image_shape) + M, (REAL,)),
    "product, written": (0.5 * M @ BLUR, (REAL, COMPLEX)),
    "adjoint": (COARSE.H, (REAL, COMPLEX)),
    "adjoint, complex": (KEPT.H, (COMPLEX,)),
    "grouped": (Grouped(GROUPS, (2, 0, 1, 0)), (REAL, COMPLEX)),
    "grouped, one each": (Grouped((M.take(torch.tensor([1]), 3), GROUPS[2]), (1, 0)), (REAL,)),
}
CASES = [(name, kind) for name, (_, kinds) in OPERATORS.items() for kind in kinds]


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=str)
def test_every_property(name: str, dtype: torch.dtype):
    operator = OPERATORS[name][0]
    for check in (
        properties.assert_adjoint,
        properties.assert_linear,
        properties.assert_autograd_adjoint,
        properties.assert_norm,
        properties.assert_normal,
        properties.assert_scales_gamma,
        properties.assert_keeps_kind,
        properties.assert_copies,
        properties.assert_pseudo_inverse,
        properties.assert_penrose,
        properties.assert_dense_adjoint,
    ):
        check(operator, dtype=dtype)
    properties.assert_solves(operator, gamma=3.0, dtype=dtype)
    if not isinstance(operator, Grouped):
        properties.assert_solve_gradients(operator, gamma=1.7, dtype=dtype)


def test_products_and_stacks_are_those_of_matrices():
    m, h, d = (properties.dense(operator) for operator in (M, BLUR, COARSE))
    assert properties.gap(properties.dense(OPERATORS["composed"][0]), m @ h) < 1e-14
    want = torch.cat([d.expand(3, -1, -1), m, h], 1)
    assert properties.gap(properties.dense(OPERATORS["stacked"][0]), want) < 1e-14
    twice = properties.dense(OPERATORS["scaled"][0])
    assert properties.gap(twice, torch.tensor([0.5, -2.0, 3.0]).double()[:, None, None] * h) < 1e-14
    x = DRAWS.uniform("x", (2, 3, 4))
    assert properties.gap(Dense(TABLE, (2, 3, 4)).A(x), x.flatten(1) @ TABLE[0].T) < 1e-14
    assert torch.equal(ZeroPadding((2, 2, 3), 3, 4).H.A(x), x[..., :2, :3])


def test_the_algebra_is_that_of_matrices():
    m, h, d = (properties.dense(operator) for operator in (M, BLUR, COARSE))
    for operator, matrix in (
        (M @ BLUR, m @ h),
        (M + BLUR + M, 2 * m + h),
        (-2.0 * BLUR, -2 * h),
        (COARSE.H, d.mH),
        ((M @ BLUR).H @ M + 3.0 * BLUR, (m @ h).mH @ m + 3 * h),
    ):
        assert properties.gap(properties.dense(operator), matrix) < 1e-14
    k = properties.dense(KEPT, dtype=COMPLEX)
    assert properties.gap(properties.dense(KEPT.H, dtype=COMPLEX), k.mH) < 1e-14
    assert (
        properties.gap(properties.dense(KEPT + KEPT @ M, dtype=COMPLEX), k + k @ m.to(COMPLEX))
        < 1e-14
    )
    assert BLUR.H.H is BLUR and torch.equal(COARSE.H.norm_squared, COARSE.norm_squared)


def test_a_nonlinear_operator_takes_part_in_the_algebra():
    x = DRAWS.uniform("x", (2, 4, 6))
    curved = NonlinearFunction(torch.square, (2, 4, 6), (2, 4, 6))
    made = M @ curved + 2.0 * BLUR
    assert not made.linear
    assert properties.gap(made.A(x), M.A(x**2) + 2 * BLUR.A(x)) < 1e-14
    assert properties.gap(made.linearize(x).A(x), M.A(2 * x**2) + 2 * BLUR.A(x)) < 1e-14
    want = made.tangent(x).A_adjoint(made.A(x) + 0.25 * M.A(torch.ones_like(x)))
    assert properties.gap(made.back_project(made.A(x)), want) < 1e-14


def test_each_sample_goes_through_its_own_operator():
    grouped = OPERATORS["grouped"][0]
    x = Draws(0, range(4), dtype=REAL).uniform("x", (2, 4, 6))
    want = torch.stack(
        [
            GROUPS[2].A(x[:1])[0],
            GROUPS[0].mask[0] * x[1],
            x[2],
            GROUPS[0].mask[1] * x[3],
        ]
    )
    assert properties.gap(grouped.A(x), want) < 1e-14
    gammas = torch.tensor([0.5, 1.0, 2.0, 3.0]).double().reshape(-1, 1, 1, 1)
    assert properties.gap(grouped.solve_normal(x, gammas)[2], x[2] / 3) < 1e-14
    some = grouped.take(torch.tensor([3, 2]), 4)
    assert properties.gap(some.A(x[[3, 2]]), want[[3, 2]]) < 1e-14 and len(some.operators) == 2
    half = grouped.to_like(torch.zeros(1))
    assert half.A(x.float()).dtype == torch.float32


def test_diffraction_is_numpys_transform_and_only_its_modulus_is_observed():
    operator = CodedDiffraction(CODES, (1, 4, 5))
    x = Draws(0, range(2), dtype=REAL).uniform("x", (1, 4, 5))
    want = np.fft.fft2(CODES.numpy() * x.numpy(), norm="ortho") / 3**0.5
    assert properties.gap(operator.A(x + 0j)[:, 0], torch.from_numpy(want)) < 1e-14
    physics = PhaseRetrieval(QUIET, 4)
    y, sampled = physics.measure(x, DRAWS.take([0, 1]))
    assert torch.equal(y, sampled.A(x).abs()) and physics.image_shape(y.shape[1:]) == (1, 4, 5)
    assert properties.gap(physics.measure(-x, DRAWS.take([0, 1])).y, y) < 1e-14
    assert properties.gap(sampled.normal(x), x) < 1e-14
    same = physics.complex_operator(DRAWS.take([0, 1]).within("operator"), (1, 4, 5))
    assert torch.equal(same.codes, sampled.operator.codes)


@pytest.mark.parametrize("suffix", [".npy", ".npz", "sparse.npz", ".safetensors"])
def test_a_matrix_is_read_from_a_file(tmp_path, suffix: str):
    table = np.where(np.random.default_rng(1).random((5, 12)) < 0.5, 0, TABLE[0, :5, :12].numpy())
    path = str(tmp_path / f"matrix{suffix}")
    if suffix == ".npy":
        np.save(path, table)
    elif suffix == ".npz":
        np.savez(path, table)
    elif suffix == "sparse.npz":
        scipy.sparse.save_npz(path, scipy.sparse.csr_array(table))
    else:
        save_file({"matrix": table}, path)
    physics = MatrixPhysics(QUIET, path, (1, 3, 4))
    x = DRAWS.uniform("x", (1, 3, 4))
    y = physics.measure(x, DRAWS).y
    assert properties.gap(y, torch.from_numpy(x.flatten(1).numpy() @ table.T)) < 1e-14
    assert physics.operator_for(y).image_shape == (1, 3, 4)


def test_a_bad_matrix_is_refused(tmp_path):
    path = str(tmp_path / "m.npy")
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"m.npy: cannot be read as a matrix: .*Python objects"):
        MatrixPhysics(QUIET, path, (1, 2, 2))
    for values, words in (
        (np.zeros((2, 5)), r"a matrix of 5 columns does not act on images of \(1, 2, 2\)"),
        (np.zeros(4), r"a matrix is a table of real numbers; got \(4,\)"),
        (np.full((1, 4), np.nan), r"some entries are not finite"),
    ):
        np.save(path, values)
        with pytest.raises(DataError, match=words):
            MatrixPhysics(QUIET, path, (1, 2, 2))
    with pytest.raises(DataError, match="there is no such file"):
        MatrixPhysics(QUIET, str(tmp_path / "none.npy"), (1, 2, 2))
    with pytest.raises(DataError, match=r"is read from .npy, .npz, .mat, .safetensors, not '.txt'"):
        MatrixPhysics(QUIET, "m.txt", (1, 2, 2))
    np.save(path, np.zeros((1, 4)))
    with pytest.raises(ShapeError, match=r"acts on images of \(1, 2, 2\), got \(1, 4, 1\)"):
        MatrixPhysics(QUIET, path, (1, 2, 2)).sample(DRAWS, (1, 4, 1))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Composed(BLUR, COARSE), ShapeError, r"Downsampling makes \(2, 2, 3\) and Circula"),
        (lambda: Composed(M, Mask(mask(2, 2, 4, 6))), ShapeError, r"have \[2, 3\] samples"),
        (lambda: Stacked((M, Identity((1, 4, 6)))), ShapeError, r"Stacked: the operators take im"),
        (lambda: Stacked(()), ShapeError, r"there must be at least one operator"),
        (lambda: M + COARSE, ShapeError, r"OperatorSum: operators of images and measurements of"),
        (lambda: 0 * M, ConfigError, r"0 \* Mask: must be real, finite and not 0"),
        (lambda: NonlinearFunction(abs, (1, 1, 1), (1,)).H, ConfigError, r"H: it is not linear"),
        (lambda: Scaled(M, torch.ones(2)), ShapeError, r"2 numbers for an operator of 3 samples"),
        (lambda: Dense(TABLE, (1, 3, 4)), ShapeError, r"must be \(batch or 1, m, 12\)"),
        (lambda: PhaseRetrieval(QUIET, 0), ConfigError, r"PhaseRetrieval.codes = 0: must be"),
        (lambda: CodedDiffraction(CODES, (1, 4, 4)), ShapeError, r"codes must be complex, \(batch"),
        (
            lambda: Grouped((M, BLUR), (0, 1)),
            ShapeError,
            r"operator 0 has 3 samples, and the family has 1",
        ),
        (lambda: Grouped((BLUR, COARSE), (0, 1)), ShapeError, r"0: \(2, 4, 6\) real; 1: \(2, 2, 3"),
    ],
)
def test_bad_input_says_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_an_operator_of_a_group_belongs_to_the_samples_of_the_group():
    group = Grouped((Mask(mask(2, 2, 4, 6)), Identity((2, 4, 6))), (0, 1, 1, 0))
    fixed = Identity((2, 4, 6))
    x = torch.rand(4, 2, 4, 6, dtype=REAL)
    scaled = Scaled(group, torch.ones(1, dtype=REAL))
    for operator in (Composed(fixed, group), Stacked((group, fixed)), scaled):
        assert operator.batch == 4 and operator.A(x).shape[0] == 4


def test_stacks_of_real_and_complex_operators_have_real_adjoints():
    both = Stacked((Identity((1, 4, 4)), RealFourier(mask(1, 1, 4, 4)[:, :1], (1, 4, 4))))
    assert both.complex_measurements and not both.complex_images
    x = torch.rand(2, 1, 4, 4, dtype=REAL)
    y = torch.randn(2, 32, dtype=COMPLEX)
    back = both.A_adjoint(y)
    assert not back.is_complex()
    one, other = (both.A(x).conj() * y).real.sum(), (x * back).sum()
    assert abs(one - other) < 1e-12 * abs(one)


@pytest.mark.parametrize("name", ["no_shape.npz", "damaged.safetensors"])
def test_files_that_hold_no_matrix_are_named(tmp_path, name):
    file = tmp_path / name
    if file.suffix == ".npz":
        np.savez(file, indptr=np.zeros(2), indices=np.zeros(1), data=np.ones(1))
    else:
        file.write_bytes(b"damaged")
    with pytest.raises(DataError, match=name):
        MatrixPhysics(QUIET, str(file), (1, 1, 1))
