"""Boxes and lines, dense and structured sensing, sparse matrices, combined physics."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch

from tests import operator_properties as properties
from unfold.config.build import build_group, verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.chain import Chain, Stack
from unfold.physics.custom.matrix import MatrixPhysics
from unfold.physics.inpainting import BoxInpainting, Inpainting, LineInpainting
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.signal_dependent import Poisson
from unfold.physics.phase.retrieval import Phaseless
from unfold.physics.sensing.compressed import CompressedSensing, Walsh
from unfold.physics.sensing.gaussian import DenseRows, GaussianSensing
from unfold.physics.sparse import Sparse
from unfold.random import Draws, generator

QUIET = NoNoise()
BLUR = Blur(QUIET, GaussianKernel(5, (0.5, 2.0)))
HALF = SuperResolution(QUIET, GaussianKernel(5, 1.0), 2)


def draws(count=3, seed=0):
    return Draws(seed=seed, images=range(count), dtype=torch.float64)


def test_a_box_is_missing_at_every_place_alike():
    count = 2000
    mask = BoxInpainting(QUIET, side=0.5).sample(draws(count), (2, 8, 6)).mask
    assert mask.shape == (count, 2, 8, 6) and torch.equal(mask[:, 0], mask[:, 1])
    hole = 1 - mask[:, 0]
    assert torch.equal(hole.sum((1, 2)), torch.full((count,), 4.0 * 3, dtype=hole.dtype))
    assert torch.equal(hole, hole.amax(2, keepdim=True) * hole.amax(1, keepdim=True)), "a box"
    first = hole.amax(2).argmax(1)
    chance = 1 / 5  # of each of the places 0 to 4
    spread = 5 * math.sqrt(count * chance * (1 - chance))
    assert (first.bincount(minlength=5) - count * chance).abs().max() < spread
    assert len(first.unique()) == 5


def test_a_box_leaves_something_and_hides_something():
    for side, shape, missing in ((1e-6, (1, 9, 9), 1), (0.999, (1, 4, 4), 9), (0.5, (1, 1, 6), 3)):
        mask = BoxInpainting(QUIET, side=side).sample(draws(20), shape).mask
        assert torch.equal((1 - mask).sum((1, 2, 3)), torch.full((20,), missing).double())
    with pytest.raises(ShapeError, match="nothing outside a box"):
        BoxInpainting(QUIET).sample(draws(), (1, 1, 1))
    sides = (1 - BoxInpainting(QUIET, side=(0.2, 0.8)).sample(draws(200), (1, 10, 10)).mask).sum(
        (1, 2, 3)
    )
    assert set(sides.sqrt().tolist()) == set(range(2, 9))


def test_full_lines_are_missing():
    rows = LineInpainting(QUIET, keep=0.3).sample(draws(400), (2, 50, 3)).mask
    assert torch.equal(rows, rows[:, :1, :, :1].expand_as(rows))
    assert abs(float(rows.mean()) - 0.3) < 5 * math.sqrt(0.3 * 0.7 / (400 * 50))
    columns = LineInpainting(QUIET, keep=1e-9, lines="columns").sample(draws(50), (1, 3, 8)).mask
    assert torch.equal(columns.sum((1, 2, 3)), torch.full((50,), 3.0).double()), "one is left"
    assert LineInpainting(QUIET, keep=1.0).is_deterministic


def test_the_structured_matrix_is_that_of_hadamard():
    """Against SciPy's matrix, whose rows are the same in another order."""
    shape = (1, 4, 8)
    operator = CompressedSensing(QUIET, 1.0, Walsh()).sample(draws(1), shape)
    got = properties.dense(operator)[0].numpy()
    full = np.kron(scipy.linalg.hadamard(4), scipy.linalg.hadamard(8)) / math.sqrt(32)
    want = full * operator.signs.numpy().reshape(1, -1)
    assert np.allclose(np.abs(got @ want.T).max(1), 1), "every row is one of them"
    assert np.allclose(got @ got.T, np.eye(32))
    with pytest.raises(ShapeError, match=r"Walsh: a side of 6 pixels is no power of 2"):
        CompressedSensing(QUIET, 0.5, Walsh()).sample(draws(1), (1, 8, 6))


def test_the_dense_matrix_is_that_of_gram_and_schmidt():
    physics = GaussianSensing(QUIET, 0.25, seed=3)
    operator = physics.sample(draws(1), (1, 6, 8))
    g = generator("gaussian sensing", 3, 48).standard_normal((12, 48))
    q, r = np.linalg.qr(g.T)
    want = torch.from_numpy((q * np.sign(np.diagonal(r))).T)
    assert properties.gap(operator.matrix[0], want) < 1e-12
    again = physics.sample(draws(2, seed=9), (1, 6, 8))
    assert torch.equal(again.matrix, operator.matrix), "the same for all images"


def test_the_closed_forms_of_a_learned_matrix_do_not_trust_it():
    operator = GaussianSensing(QUIET, 0.5).sample(draws(1), (1, 2, 3))
    b = draws(2).uniform("b", (1, 2, 3))

    def solved(matrix):
        return DenseRows(matrix, (1, 2, 3)).solve_normal(b, 3.0)

    assert torch.autograd.gradcheck(solved, (operator.matrix.clone().requires_grad_(),))
    properties.assert_solves(operator, gamma=3.0)


def test_a_dense_matrix_that_would_fill_the_memory_is_refused():
    with pytest.raises(ShapeError, match=r"26214 x 262144 entries .* take CompressedSensing"):
        GaussianSensing(QUIET, 0.1).sample(draws(1), (1, 512, 512))
    with pytest.raises(ConfigError, match=r"do not tell the sides.*give its shape, \[C, H, W\]"):
        GaussianSensing(QUIET).operator_for(torch.zeros(1, 7))


@pytest.fixture
def table():
    g = np.random.default_rng(0)
    return np.where(g.random((7, 12)) < 0.6, 0, g.standard_normal((7, 12)))


def test_a_sparse_matrix_stays_sparse(tmp_path, table):
    path = str(tmp_path / "m.npz")
    scipy.sparse.save_npz(path, scipy.sparse.csr_array(table))
    physics = MatrixPhysics(QUIET, path, (1, 3, 4))
    operator = physics.sample(draws(), (1, 3, 4))
    assert isinstance(operator, Sparse)
    assert properties.gap(properties.dense(operator)[0], torch.from_numpy(table)) < 1e-14
    for law_ in (
        properties.assert_adjoint,
        properties.assert_linear,
        properties.assert_norm,
        properties.assert_pseudo_inverse,
        properties.assert_batch_invariant,
    ):
        law_(operator)
    properties.assert_solves(operator, gamma=3.0)
    properties.assert_keeps_kind(operator, dtype=torch.float64)
    properties.assert_adjoint(operator, dtype=torch.float32)
    x = torch.randn(2, 1, 3, 4, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(operator.A, (x,))
    assert torch.autograd.gradgradcheck(operator.A, (x,))


@pytest.mark.parametrize("part", ["indptr", "indices", "data"])
def test_a_sparse_matrix_that_does_not_fit_together_is_refused(tmp_path, table, part):
    matrix = scipy.sparse.csr_array(table)
    parts = {name: getattr(matrix, name) for name in ("indptr", "indices", "data")}
    path = str(tmp_path / "m.npz")
    np.savez(path, shape=matrix.shape, format="csr", **parts | {part: parts[part] + 12})
    if part == "data":
        assert MatrixPhysics(QUIET, path, (1, 3, 4)).matrix.shape == (7, 12)
        np.savez(path, shape=matrix.shape, format="csr", **parts | {part: parts[part][1:]})
    with pytest.raises(DataError, match="rows and columns do not fit together"):
        MatrixPhysics(QUIET, path, (1, 3, 4))


def test_the_file_of_a_matrix_is_named_in_a_configuration(tmp_path, table):
    path = str(tmp_path / "m.npy")
    np.save(path, table)
    words = ["physics=matrix", f"physics.path={path}", "physics.shape=[1,3,4]", "evaluation=none"]
    physics = build_group(verify(compose(words))[0], "physics")
    assert physics.sample(draws(), (1, 3, 4)).measurement_shape == (7,)


def test_a_chain_measures_the_output_of_the_previous_operator():
    parts = {"blur": BLUR, "small": HALF, "holes": Inpainting(Gaussian(0.9))}
    chain = Chain(Gaussian(0.1), parts)
    x = draws().uniform("x", (1, 8, 8))
    y, operator = chain.measure(x, draws())
    own = draws().within("operator")
    blurred = BLUR.sample(own.within("blur"), (1, 8, 8)).A(x)
    small = HALF.sample(own.within("small"), (1, 8, 8)).A(blurred)
    want = Inpainting(QUIET).sample(own.within("holes"), (1, 4, 4)).A(small)
    assert torch.equal(operator.A(x), want)
    assert 0.05 < float((y - want).std()) < 0.2, "one noise, and last"
    assert chain.image_shape((1, 4, 4)) == (1, 8, 8)
    properties.assert_adjoint(operator)
    properties.assert_norm(operator)
    properties.assert_solves(operator, gamma=3.0)
    one = Chain(QUIET, {"only": HALF})
    assert one.is_deterministic and not chain.is_deterministic
    assert torch.equal(one.measure(x, draws()).y, HALF.measure(x, draws()).y)


def test_a_stack_measures_one_image_with_every_operator():
    stack = Stack(QUIET, {"blur": BLUR, "small": HALF})
    x = draws().uniform("x", (1, 8, 8))
    y, operator = stack.measure(x, draws())
    own = draws().within("operator")
    parts = [BLUR.sample(own.within("blur"), (1, 8, 8)), HALF.sample(own, (1, 8, 8))]
    assert torch.equal(y, torch.cat([part.A(x).flatten(1) for part in parts], 1))
    properties.assert_adjoint(operator)
    properties.assert_solves(operator, gamma=3.0)
    with pytest.raises(ConfigError, match="does not tell the shape of the image"):
        stack.image_shape((80,))


class Amplitudes(Phaseless):
    """A physics that observes less than Ax."""

    is_deterministic = True

    def sample(self, draws, shape):
        raise AssertionError

    complex_operator = sample


@pytest.mark.parametrize("kind", [Chain, Stack])
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, r"operators = \{\}: at least one"),
        ({"phase": Amplitudes(QUIET)}, r"operators\.phase: Amplitudes observes less than Ax"),
    ],
)
def test_what_cannot_be_combined_is_refused(kind, parts, message):
    with pytest.raises(ConfigError, match=f"{kind.__name__}.{message}"):
        kind(QUIET, parts)


def test_a_chain_whose_links_do_not_fit_is_reported():
    chain = Chain(QUIET, {"sensing": CompressedSensing(QUIET), "blur": BLUR})
    with pytest.raises((ShapeError, ConfigError)):
        chain.sample(draws(), (1, 8, 8))


def test_the_command_line_adds_operators_and_families():
    words = [
        "evaluation=none",
        "physics=mixture",
        "+physics@physics.families.fine=denoising",
        "+physics@physics.families.boxes=box_inpainting",
        "physics/noise@physics.families.fine.noise=poisson",
    ]
    mixture = build_group(verify(compose(words))[0], "physics")
    assert isinstance(mixture.families["fine"].noise, Poisson)
    assert isinstance(mixture.families["boxes"], BoxInpainting)
    words = ["evaluation=none", "physics=chain", "+physics@physics.operators.last=super_resolution"]
    chain = build_group(verify(compose(words))[0], "physics")
    assert list(chain.operators) == ["blur", "inpainting", "last"]
    with pytest.raises(ConfigError, match=r"physics@physics\.operators\.last: given 2 times"):
        verify(compose([*words, "+physics@physics.operators.last=denoising"]))
