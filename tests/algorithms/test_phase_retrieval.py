"""Gradient descent from a spectral start recovers an image from amplitudes, up to one phase."""

import math

import pytest
import torch
from torch import Tensor

from tests.algorithms.small import Dense
from tests.engine import DOUBLE, difference, iterate, normal
from unfold.algorithms.gd import GD
from unfold.algorithms.landweber import Landweber
from unfold.errors import ConfigError
from unfold.fidelities.amplitude import Amplitude
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.initialization import BackProjection, Spectral
from unfold.models.classical import Classical
from unfold.physics.inpainting import Mask
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import Problem, make_problem
from unfold.reconstructor import Reconstructor

SHAPE, ROWS = (1, 3, 4), 240


def gaussian(*shape: int, seed: int) -> Tensor:
    parts = normal(2, *shape, seed=seed) / math.sqrt(2)
    return torch.complex(parts[0], parts[1])


def case(seed: int, batch: int = 1) -> tuple[Tensor, Dense, Tensor]:
    """Images, random operators, and the amplitudes of what they measure."""
    x = gaussian(batch, *SHAPE, seed=seed)
    A = Dense(gaussian(batch, ROWS, 12, seed=seed + 100) / math.sqrt(ROWS), SHAPE)
    return x, A, A.A(x).abs()


def retrieval(A: Dense, y: Tensor) -> Problem:
    return make_problem(Amplitude(), A, y, Tikhonov(), Spectral())


def distance(found: Tensor, x: Tensor) -> float:
    """‖x̂ − e^{iφ}x‖ / ‖x‖ at the best φ, the largest of the batch."""
    inner = (x.conj() * found).flatten(1).sum(1)
    aligned = x * (inner / inner.abs()).reshape(-1, 1, 1, 1)
    error = (found - aligned).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    return float(error.max())


@pytest.mark.parametrize("seed", range(3))
def test_an_image_is_recovered_up_to_a_global_phase(seed: int):
    x, A, y = case(seed)
    at = retrieval(A, y)
    assert 1e-3 < distance(at.start, x) < 0.7
    found = iterate(Landweber(1.0 / float(at.norm_squared)), at, 150)
    assert distance(found, x) < 1e-8
    assert difference(A.A(found).abs(), y) < 1e-8


def test_a_batch_is_retrieved_image_by_image():
    _, A, y = case(9, batch=2)
    whole = iterate(Landweber(0.5), retrieval(A, y), 20)
    for i in range(2):
        one = retrieval(A.take(torch.tensor([i]), 2), y[i : i + 1])
        assert difference(iterate(Landweber(0.5), one, 20), whole[i : i + 1]) < 1e-10


def test_the_start_is_the_leading_eigenvector_of_the_dense_matrix():
    _, A, y = case(3)
    H = A.matrix[0].mH @ torch.diag((y[0] ** 2).to(torch.complex128)) @ A.matrix[0]
    vector = torch.linalg.eigh(H).eigenvectors[:, -1].reshape(1, *SHAPE)
    found = Spectral(400).image(data_term(Amplitude(), A, y))
    assert distance(vector, found / found.norm()) < 1e-6
    assert float(A.A(found).norm()) == pytest.approx(float(y.norm()), rel=1e-12)
    assert torch.equal(found, Spectral(400).image(data_term(Amplitude(), A, y)))


def test_with_a_prior_gradient_descent_lowers_the_objective_at_every_step():
    _, A, y = case(5)
    at = retrieval(A, y + 0.05 * normal(1, ROWS, seed=8).abs())
    gd = GD(1.0 / (float(at.norm_squared) + 0.01), 0.01)
    state, before = gd.init(at), math.inf
    for _ in range(60):
        value = float(at.f.value(state.x).item() + 0.01 * at.g.value(state.x).item())
        assert value <= before + 1e-12
        state, before = gd.step(state, at), value
    assert not gd.guarantee(at).holds  # nothing is known of a fidelity that is not convex


def test_it_runs_in_a_reconstructor_and_stays_real_for_real_operators():
    x, A, y = case(2)
    model = Classical(tol=1e-9, max_iterations=600, every=10)
    net = Reconstructor(Landweber(), Tikhonov(), Amplitude(), model, Spectral()).double()
    solution = net.solve(y, A)
    assert solution.converged.all() and distance(solution.image, x) < 1e-7
    real = Mask(torch.ones(1, 1, 3, 4, dtype=DOUBLE))
    start = Spectral(5).image(data_term(L2(), real, normal(1, 1, 3, 4)))
    assert start.dtype == DOUBLE and start.isfinite().all()
    zero = Spectral(5).image(data_term(L2(), real, torch.zeros(1, 1, 3, 4, dtype=DOUBLE)))
    assert torch.equal(zero, torch.zeros_like(zero))


def test_back_projection_of_amplitudes_is_no_start():
    x, A, y = case(1)
    bad = make_problem(Amplitude(), A, y, Tikhonov(), BackProjection()).start
    assert distance(bad, x) > 0.8 > 0.7 > distance(retrieval(A, y).start, x)
    with pytest.raises(ConfigError, match=r"Spectral.iterations = 0: must be at least 1"):
        Spectral(0)
